-- name: retention_due
-- Asked before `claim_retention`, which needs a connection of its own.
select not exists (
    select
    from pipespan_settings as known
    where
        known.name = 'retention_run'
        and (
            (known.value::jsonb ->> 'done_at')::timestamptz >= now() - interval '1 hour'
            or (known.value::jsonb ->> 'claimed_at')::timestamptz >= now() - interval '10 minutes'
        )
)
