-- name: set_scope
-- For this transaction only: behind a pooler the session is shared with others. Null leaves what the server has.
-- Who vanishes in the middle (a host that is cut off, a machine put to sleep) holds locks: the server looks for it.
select
    set_config('statement_timeout', coalesce(%(statement)s::text, current_setting('statement_timeout')), true),
    set_config('lock_timeout', coalesce(%(lock)s::text, current_setting('lock_timeout')), true),
    set_config(
        'idle_in_transaction_session_timeout',
        coalesce(%(silence)s::text, current_setting('idle_in_transaction_session_timeout')),
        true
    ),
    set_config('tcp_keepalives_idle', coalesce(%(keepalive)s::text, current_setting('tcp_keepalives_idle')), true),
    set_config(
        'tcp_keepalives_interval', coalesce(%(keepalive)s::text, current_setting('tcp_keepalives_interval')), true
    ),
    set_config(
        'tcp_keepalives_count',
        coalesce(case when %(keepalive)s::text is not null then '3' end, current_setting('tcp_keepalives_count')),
        true
    ),
    set_config('search_path', coalesce(quote_ident(%(schema)s::text), current_setting('search_path')), true)
