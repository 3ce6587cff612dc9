-- name: set_timeouts
-- For this transaction only: behind a pooler the session is shared with others.
select
    set_config('statement_timeout', %(statement)s::text, true),
    set_config('lock_timeout', %(lock)s::text, true)
