-- name: copy_logs
-- Takes the lines of LogRow, its fields in their order.
copy pipeline_logs (
    experiment_id, job_id, node_id, timestamp, level, severity_number, logger_name, message, context,
    traceback, error_type, performance, trace_id, span_id
) from stdin
