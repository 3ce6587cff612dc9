-- name: copy_staged_jobs
-- Takes the lines of JobRow, its fields in their order.
copy pipespan_batch_jobs_v1 (
    id, experiment_id, attempt, parent_job_id, host, boot_id, pid, process_started_at, status, cause,
    exit_code, exit_signal, evidence, command, started_at, heartbeat_at, progress_at, ended_at,
    log_messages, version
) from stdin
