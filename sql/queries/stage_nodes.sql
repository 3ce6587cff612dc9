-- name: stage_nodes
-- The session's table through which rows of pipeline_progress go; `seq` is their order of arrival.
create temporary table if not exists pipespan_staged_nodes (
    seq bigint generated always as identity,
    experiment_id uuid not null,
    node_id varchar(255) not null,
    node_level text not null,
    parent_id varchar(255),
    node_name text not null,
    status text not null,
    completed_units bigint not null,
    total_units bigint,
    unit text,
    weight double precision not null,
    message text,
    error_type text,
    start_time timestamptz,
    end_time timestamptz,
    metadata jsonb not null,
    trace_id text,
    span_id text,
    job_id uuid,
    attempt integer not null,
    version bigint not null
)
