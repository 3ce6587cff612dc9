-- name: set_scope
-- For this transaction only: behind a pooler the session is shared with others. Null leaves what the server has.
select
    set_config('statement_timeout', coalesce(%(statement)s::text, current_setting('statement_timeout')), true),
    set_config('lock_timeout', coalesce(%(lock)s::text, current_setting('lock_timeout')), true),
    set_config('search_path', coalesce(quote_ident(%(schema)s::text), current_setting('search_path')), true)
