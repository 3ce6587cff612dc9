-- name: metrics
-- The newest metric rows of an experiment, newest first.
select
    metric.id, metric.experiment_id::text as experiment_id, metric.job_id::text as job_id, metric.node_id,
    metric.timestamp, metric.memory_mb, metric.cpu_percent, metric.disk_usage_mb, metric.throughput_per_sec,
    metric.custom_metrics
from pipeline_metrics as metric
where
    metric.experiment_id = %(experiment_id)s::uuid
    and metric.timestamp >= (
        select min(stretch.since)
        from pipespan_stretches_v1('pipeline_metrics', %(experiment_id)s::uuid) as stretch
    )
    and metric.timestamp < (
        select max(stretch.until)
        from pipespan_stretches_v1('pipeline_metrics', %(experiment_id)s::uuid) as stretch
    )
order by metric.timestamp desc, metric.id desc
limit %(limit)s::bigint
