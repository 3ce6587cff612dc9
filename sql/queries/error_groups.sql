-- name: error_groups
-- Errors by fingerprint, most frequent first, each with its first and its last record: two rows for each group, in
-- this order.
select
    kind.errors,
    log.id, log.experiment_id::text as experiment_id, log.job_id::text as job_id, log.node_id,
    log.timestamp, log.level, log.severity_number, log.logger_name, log.message, log.context, log.traceback,
    log.error_type, log.performance, log.trace_id, log.span_id, log.fingerprint
from pipespan_error_groups_v1(%(experiment_id)s::uuid, %(limit)s::bigint) as kind
cross join lateral (
    values (1, kind.first_id, kind.first_at), (2, kind.last_id, kind.last_at)
) as edge (place, id, timestamp)
cross join lateral pipespan_log_v1(edge.id, edge.timestamp) as log
order by kind.errors desc, kind.first_at, kind.first_id, edge.place
