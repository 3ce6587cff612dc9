-- name: copy_metrics
-- Takes the lines of MetricRow, its fields in their order.
copy pipeline_metrics (
    experiment_id, job_id, node_id, timestamp, memory_mb, cpu_percent, disk_usage_mb, throughput_per_sec,
    custom_metrics
) from stdin
