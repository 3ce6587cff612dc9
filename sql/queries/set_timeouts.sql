-- name: set_timeouts
-- For this transaction only: behind a pooler the session is shared with others. Null leaves the server's own.
select
    set_config('statement_timeout', coalesce(%(statement)s::text, current_setting('statement_timeout')), true),
    set_config('lock_timeout', coalesce(%(lock)s::text, current_setting('lock_timeout')), true)
