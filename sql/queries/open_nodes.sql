-- name: open_nodes
-- The nodes of one job that have no final status, by start time, unstarted ones last, in order of creation.
select
    node.experiment_id::text as experiment_id, node.node_id, node.node_level, node.parent_id,
    node.node_name, node.status, node.progress_percent::double precision as progress_percent,
    node.completed_units, node.total_units, node.unit, node.weight, node.message, node.error_type,
    node.start_time, node.end_time, node.metadata, node.trace_id, node.span_id, node.job_id::text as job_id,
    node.attempt, node.version, node.child_weight::text as child_weight, node.child_sum::text as child_sum, node.child_reached::text as child_reached,
    node.created_at, node.updated_at
from pipeline_progress as node
where
    node.experiment_id = %(experiment_id)s::uuid
    and node.job_id = %(job_id)s::uuid
    and not pipespan_is_terminal_v1(node.status)
order by node.start_time asc nulls last, node.id
