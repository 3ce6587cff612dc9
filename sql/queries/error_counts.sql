-- name: error_counts
-- How many errors each node logged itself.
select counts.node_id, counts.errors
from pipespan_error_counts_v1(%(experiment_id)s::uuid) as counts
