-- name: snapshot_nodes
-- The nodes of an experiment as NodeRow has them, in order of creation; sums over children are not theirs.
select
    node.experiment_id::text as experiment_id, node.node_id, node.node_level, node.parent_id, node.node_name,
    node.status, node.completed_units, node.total_units, node.unit, node.weight, node.message,
    node.error_type, node.start_time, node.end_time, node.metadata, node.trace_id, node.span_id,
    node.job_id::text as job_id, node.attempt, node.version
from pipeline_progress as node
where node.experiment_id = %(experiment_id)s::uuid
order by node.id
