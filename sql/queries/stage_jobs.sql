-- name: stage_jobs
-- The session's table through which rows of processing_jobs go; `seq` is their order of arrival.
create temporary table if not exists pipespan_staged_jobs (
    seq bigint generated always as identity,
    id uuid not null,
    experiment_id uuid not null,
    attempt integer not null,
    parent_job_id uuid,
    host text not null,
    boot_id text,
    pid bigint not null,
    process_started_at timestamptz,
    status text not null,
    cause text,
    exit_code bigint,
    exit_signal integer,
    evidence jsonb not null,
    command text,
    started_at timestamptz not null,
    heartbeat_at timestamptz not null,
    progress_at timestamptz not null,
    ended_at timestamptz,
    log_messages text[] not null,
    version bigint not null
)
