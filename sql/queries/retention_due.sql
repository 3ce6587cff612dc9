-- name: retention_due
-- Asked before `claim_retention`, which needs a connection of its own: whether there are rules, and it is time.
select coalesce(
    (select rules.value <> '{}' from pipespan_settings as rules where rules.name = 'retention'),
    %(has_default)s::boolean
) and not exists (
    select
    from pipespan_settings as known
    where
        known.name = 'retention_run'
        and (
            (known.value::jsonb ->> 'done_at')::timestamptz >= now() - interval '1 hour'
            or (known.value::jsonb ->> 'claimed_at')::timestamptz >= now() - interval '10 minutes'
        )
)
