-- name: logs
-- Log records that match: the newest in order of time, or those after a known one in order of id.
select
    log.id, log.experiment_id::text as experiment_id, log.job_id::text as job_id, log.node_id,
    log.timestamp, log.level, log.severity_number, log.logger_name, log.message, log.context, log.traceback,
    log.error_type, log.performance, log.trace_id, log.span_id, log.fingerprint
from get_experiment_logs(
    %(experiment_id)s::uuid,
    p_level => %(level)s::text,
    p_search => %(search)s::text,
    p_node => %(node_id)s::text,
    p_since => %(since)s::timestamptz,
    p_until => %(until)s::timestamptz,
    p_limit => %(limit)s::bigint,
    p_after => %(after_id)s::bigint
) as log
