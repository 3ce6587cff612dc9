-- name: maintenance_sizes
select size.table_name, size.row_estimate, size.bytes, size.live_bytes
from pipespan_sizes_v1() as size
order by size.bytes desc, size.table_name
