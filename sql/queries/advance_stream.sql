-- name: advance_stream
-- Moves the ledger of a lane from start to end; touches no row when it stands elsewhere.
insert into pipespan_streams as known (stream_id, lane, shipped_bytes)
select %(stream_id)s::uuid, %(lane)s::text, %(end_bytes)s::bigint
where
    %(start_bytes)s::bigint = 0
    or exists (
        select
        from pipespan_streams as other
        where other.stream_id = %(stream_id)s::uuid and other.lane = %(lane)s::text
    )
on conflict (stream_id, lane) do update set
    shipped_bytes = excluded.shipped_bytes,
    updated_at = now()
where known.shipped_bytes = %(start_bytes)s::bigint
