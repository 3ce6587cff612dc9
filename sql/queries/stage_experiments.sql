-- name: stage_experiments
-- The session's table through which rows of experiments go; `seq` is their order of arrival.
create temporary table if not exists pipespan_staged_experiments (
    seq bigint generated always as identity,
    id uuid not null,
    name text not null,
    status text not null,
    params jsonb not null,
    tags text[] not null,
    command text,
    host text,
    user_name text,
    git_commit text,
    started_at timestamptz not null,
    ended_at timestamptz,
    trace_id text,
    attempt integer not null,
    version bigint not null
)
