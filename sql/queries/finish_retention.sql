-- name: finish_retention
update pipespan_settings as known
set value = (known.value::jsonb || jsonb_build_object('done_at', now()))::text, updated_at = now()
where known.name = 'retention_run'
