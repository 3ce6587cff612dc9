-- name: delete_streams
-- The ledger of streams that have not moved for long: their processes are gone and their rows delivered, or deleted.
delete from pipespan_streams as known
where (known.stream_id, known.lane) in (
    select old.stream_id, old.lane
    from pipespan_streams as old
    where old.updated_at < %(before)s::timestamptz
    limit %(limit)s::integer
)
