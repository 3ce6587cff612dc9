-- name: maintenance_partitions
select part.parent, part.partition, part.relation, part.starts_at, part.ends_at, part.is_default, part.row_estimate, part.bytes
from pipespan_partition_sizes_v1() as part
