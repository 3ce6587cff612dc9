-- sizes: how large the tables are, and what the partitions of each day take
select part.parent, part.starts_at, part.row_estimate, pg_size_pretty(part.bytes) as size
from pipespan_partition_sizes_v1() as part
order by part.bytes desc
limit 50
