-- name: error_groups
-- Errors of one type, stage (the first two names of the node's path) and first message line, most frequent first,
-- each with its first and its last record: two rows for each group, in this order.
with error as materialized (
    select
        log.id,
        log.timestamp,
        log.error_type,
        array_to_string((string_to_array(log.node_id, '/'))[1:2], '/') as stage,
        split_part(log.message, E'\n', 1) as headline
    from pipeline_logs as log
    where log.experiment_id = %(experiment_id)s::uuid and log.level in ('ERROR', 'CRITICAL')
),
grouped as (
    select
        error.error_type,
        error.stage,
        error.headline,
        count(*) as errors,
        (array_agg(error.id order by error.timestamp, error.id))[1] as first_id,
        min(error.timestamp) as first_at,
        (array_agg(error.id order by error.timestamp desc, error.id desc))[1] as last_id,
        max(error.timestamp) as last_at
    from error
    group by error.error_type, error.stage, error.headline
    order by errors desc, first_at, first_id
    limit %(limit)s::bigint
)
select
    grouped.stage,
    grouped.headline,
    grouped.errors,
    log.id, log.experiment_id::text as experiment_id, log.job_id::text as job_id, log.node_id,
    log.timestamp, log.level, log.severity_number, log.logger_name, log.message, log.context, log.traceback,
    log.error_type, log.performance, log.trace_id, log.span_id
from grouped
cross join lateral (
    values (1, grouped.first_id, grouped.first_at), (2, grouped.last_id, grouped.last_at)
) as edge (place, id, timestamp)
join pipeline_logs as log on log.id = edge.id and log.timestamp = edge.timestamp
order by grouped.errors desc, grouped.first_at, grouped.first_id, edge.place
