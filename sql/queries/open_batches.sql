-- name: open_batches
-- Moves the ledger and makes the tables for rows that are merged ready; an error when a ledger stands elsewhere.
select pipespan_open_batches_v1(
    %(stream_ids)s::uuid[], %(lanes)s::text[], %(starts_bytes)s::bigint[], %(ends_bytes)s::bigint[],
    %(has_owners)s::boolean, %(has_nodes)s::boolean
)
