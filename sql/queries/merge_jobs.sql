-- name: merge_jobs
-- Writes the staged jobs, best row of each; the rule is that of `pipespan.model.merge`.
insert into processing_jobs as known (
    id, experiment_id, attempt, parent_job_id, host, boot_id, pid, process_started_at, status, cause,
    exit_code, exit_signal, evidence, command, started_at, heartbeat_at, progress_at, ended_at,
    log_messages, version
)
select
    best.id, best.experiment_id, best.attempt, best.parent_job_id, best.host, best.boot_id, best.pid,
    best.process_started_at, best.status, best.cause, best.exit_code, best.exit_signal, best.evidence,
    best.command, best.started_at, best.heartbeat_at, best.progress_at, best.ended_at, best.log_messages,
    best.version
from (
    select distinct on (staged.id)
        staged.*
    from pipespan_staged_jobs as staged
    order by
        staged.id,
        staged.attempt desc,
        pipespan_is_terminal_v1(staged.status) desc,
        staged.version desc,
        staged.seq
) as best
order by best.id
on conflict (id) do update set
    experiment_id = excluded.experiment_id,
    attempt = excluded.attempt,
    parent_job_id = excluded.parent_job_id,
    host = excluded.host,
    boot_id = excluded.boot_id,
    pid = excluded.pid,
    process_started_at = excluded.process_started_at,
    status = excluded.status,
    cause = excluded.cause,
    exit_code = excluded.exit_code,
    exit_signal = excluded.exit_signal,
    evidence = excluded.evidence,
    command = excluded.command,
    started_at = excluded.started_at,
    heartbeat_at = excluded.heartbeat_at,
    progress_at = excluded.progress_at,
    ended_at = excluded.ended_at,
    log_messages = excluded.log_messages,
    version = excluded.version
where
    (excluded.attempt, pipespan_is_terminal_v1(excluded.status), excluded.version)
    > (known.attempt, pipespan_is_terminal_v1(known.status), known.version)
