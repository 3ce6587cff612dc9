-- name: stream_offset
select known.shipped_bytes
from pipespan_streams as known
where known.stream_id = %(stream_id)s::uuid and known.lane = %(lane)s::text
