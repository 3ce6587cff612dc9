-- name: claim_retention
-- One writer in an hour; when it does not come to its end, the next one after ten minutes.
insert into pipespan_settings as known (key, value)
values ('retention_run', jsonb_build_object('claimed_at', now()))
on conflict (key) do update set value = known.value || excluded.value
where
    coalesce((known.value ->> 'done_at')::timestamptz, '-infinity') < now() - interval '1 hour'
    and coalesce((known.value ->> 'claimed_at')::timestamptz, '-infinity') < now() - interval '10 minutes'
returning now()
