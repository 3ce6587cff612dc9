-- name: snapshot_jobs
-- The jobs of an experiment as JobRow has them, by start time.
select
    job.id::text as id, job.experiment_id::text as experiment_id, job.attempt,
    job.parent_job_id::text as parent_job_id, job.host, job.boot_id, job.pid, job.process_started_at,
    job.status, job.cause, job.exit_code, job.exit_signal, job.evidence, job.command, job.started_at,
    job.heartbeat_at, job.progress_at, job.ended_at, job.log_messages, job.version
from processing_jobs as job
where job.experiment_id = %(experiment_id)s::uuid
order by job.started_at, job.id
