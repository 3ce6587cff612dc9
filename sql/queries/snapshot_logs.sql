-- name: snapshot_logs
-- The log records of an experiment as LogRow has them, in order of time.
select
    log.experiment_id::text as experiment_id, log.job_id::text as job_id, log.node_id, log.timestamp,
    log.level, log.severity_number, log.logger_name, log.message, log.context, log.traceback,
    log.error_type, log.performance, log.trace_id, log.span_id
from pipeline_logs as log
where log.experiment_id = %(experiment_id)s::uuid
order by log.timestamp, log.id
