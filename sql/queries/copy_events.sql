-- name: copy_events
-- Takes the lines of EventRow, its fields in their order.
copy pipeline_events (
    experiment_id, job_id, node_id, event_type, source, severity, title, details, timestamp
) from stdin
