-- name: logs_after
-- The log records that match and came after a known one, in order of arrival; filters as in logs_newest.
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
    log.id, log.experiment_id::text as experiment_id, log.job_id::text as job_id, log.node_id,
    log.timestamp, log.level, log.severity_number, log.logger_name, log.message, log.context, log.traceback,
    log.error_type, log.performance, log.trace_id, log.span_id
from pipeline_logs as log
where
    log.experiment_id = %(experiment_id)s::uuid
    and log.id > %(after_id)s::bigint
    and (%(levels)s::text[] is null or log.level = any (%(levels)s::text[]))
    and (%(since)s::timestamptz is null or log.timestamp >= %(since)s::timestamptz)
    and (%(until)s::timestamptz is null or log.timestamp < %(until)s::timestamptz)
    and (
        %(pattern)s::text is null
        or log.message ilike %(pattern)s::text
        or log.traceback ilike %(pattern)s::text
    )
    and (
        %(node_id)s::text is null
        or log.node_id = %(node_id)s::text
        or starts_with(log.node_id, %(node_id)s::text || '/')
        or log.node_id in (select below.node_id from below)
    )
order by log.id
limit %(limit)s::bigint
