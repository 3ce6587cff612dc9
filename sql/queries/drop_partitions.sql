-- name: drop_partitions
select gone.partition, gone.rows_estimate, gone.bytes
from pipespan_drop_partitions_v1(%(relations)s::oid[], %(rest_before)s::timestamptz) as gone
