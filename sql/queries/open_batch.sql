-- name: open_batch
-- Starts the transaction of a batch. Bounds of time hold for it only: behind a pooler the session is shared.
select
    set_config('statement_timeout', coalesce(%(statement)s::text, current_setting('statement_timeout')), true),
    set_config('lock_timeout', coalesce(%(lock)s::text, current_setting('lock_timeout')), true),
    pipespan_open_batch_v1(
        %(stream_id)s::uuid, %(lane)s::text, %(start_bytes)s::bigint, %(end_bytes)s::bigint,
        %(has_owners)s::boolean, %(has_nodes)s::boolean
    )
