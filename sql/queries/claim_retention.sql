-- name: claim_retention
-- One writer in an hour; when it does not come to its end, the next one after ten minutes.
insert into pipespan_settings as known (name, value)
values ('retention_run', jsonb_build_object('claimed_at', now())::text)
on conflict (name) do update set value = (known.value::jsonb || excluded.value::jsonb)::text, updated_at = now()
where
    coalesce((known.value::jsonb ->> 'done_at')::timestamptz, '-infinity') < now() - interval '1 hour'
    and coalesce((known.value::jsonb ->> 'claimed_at')::timestamptz, '-infinity') < now() - interval '10 minutes'
returning now()
