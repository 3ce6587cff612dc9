-- name: maintenance_partitions
select part.parent, part.partition, part.relation, part.starts_at, part.ends_at, part.is_default, part.row_estimate, part.bytes
from pipespan_partitions_v1() as part
