-- name: open_group
-- Notes whole requests in the ledger; gives those of them that were written before.
select pipespan_open_requests_v1(
    %(stream_ids)s::uuid[], %(lane)s::text, %(sizes_bytes)s::bigint[], %(has_owners)s::boolean,
    %(has_nodes)s::boolean
)
