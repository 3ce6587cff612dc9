-- name: node_throughput
-- How fast the nodes of an experiment worked.
select
    node.node_id, node.completed_units, node.unit, node.duration_s, node.throughput_per_s
from get_node_throughput(%(experiment_id)s::uuid) with ordinality as node
order by node.ordinality
