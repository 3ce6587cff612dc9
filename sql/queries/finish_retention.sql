-- name: finish_retention
update pipespan_settings as known
set value = known.value || jsonb_build_object('done_at', now())
where known.key = 'retention_run'
