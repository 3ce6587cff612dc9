-- name: prune_partition
select gone.partition, gone.rows_estimate, gone.bytes
from pipespan_prune_partition_v1(
    %(relation)s::oid, %(mild_before)s::timestamptz, %(rest_before)s::timestamptz
) as gone
