-- name: snapshot_metrics
-- The metric rows of an experiment as MetricRow has them, in order of time.
select
    metric.experiment_id::text as experiment_id, metric.job_id::text as job_id, metric.node_id,
    metric.timestamp, metric.memory_mb, metric.cpu_percent, metric.disk_usage_mb, metric.throughput_per_sec,
    metric.custom_metrics
from pipeline_metrics as metric
where metric.experiment_id = %(experiment_id)s::uuid
order by metric.timestamp, metric.id
