-- name: open_batch
-- Moves the ledger and makes the tables for rows that are merged ready; null when the ledger stood where it should.
select pipespan_open_batch_v1(
    %(stream_id)s::uuid, %(lane)s::text, %(start_bytes)s::bigint, %(end_bytes)s::bigint,
    %(has_owners)s::boolean, %(has_nodes)s::boolean
)
