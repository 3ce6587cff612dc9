-- name: copy_staged_nodes
-- Takes the lines of NodeRow, its fields in their order.
copy pipespan_batch_nodes_v1 (
    experiment_id, node_id, node_level, parent_id, node_name, status, completed_units, total_units, unit,
    weight, message, error_type, start_time, end_time, metadata, trace_id, span_id, job_id, attempt, version
) from stdin
