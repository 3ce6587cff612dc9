-- name: metrics
-- The newest metric rows of an experiment that match, newest first; filters as in events.
with recursive below as (
    select node.node_id
    from pipeline_progress as node
    where node.experiment_id = %(experiment_id)s::uuid and node.parent_id = %(node_id)s::text
    union
    select node.node_id
    from below
    join pipeline_progress as node
        on node.experiment_id = %(experiment_id)s::uuid and node.parent_id = below.node_id
)

select
    metric.id, metric.experiment_id::text as experiment_id, metric.job_id::text as job_id, metric.node_id,
    metric.timestamp, metric.memory_mb, metric.cpu_percent, metric.disk_usage_mb, metric.throughput_per_sec,
    metric.custom_metrics
from pipeline_metrics as metric
where
    metric.experiment_id = %(experiment_id)s::uuid
    and metric.timestamp >= (
        select min(stretch.since)
        from pipespan_stretches_v1(
            'pipeline_metrics', %(experiment_id)s::uuid, %(since)s::timestamptz, %(until)s::timestamptz
        ) as stretch
    )
    and metric.timestamp < (
        select max(stretch.until)
        from pipespan_stretches_v1(
            'pipeline_metrics', %(experiment_id)s::uuid, %(since)s::timestamptz, %(until)s::timestamptz
        ) as stretch
    )
    and (
        %(node_id)s::text is null
        or metric.node_id = %(node_id)s::text
        or starts_with(metric.node_id, %(node_id)s::text || '/')
        or metric.node_id in (select below.node_id from below)
    )
order by metric.timestamp desc, metric.id desc
limit %(limit)s::bigint
