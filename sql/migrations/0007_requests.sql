-- Requests to live processes, from anywhere that reaches the database: tell your stacks, stop. A process looks for
-- those of its own jobs about once a second, by the partial index, which holds the open ones only.

create table pipespan_requests (
    id uuid primary key,
    experiment_id uuid not null references experiments (id) on delete cascade,
    job_id uuid not null,
    kind text not null,
    args jsonb not null default '{}',
    asked_by text not null,
    asked_at timestamptz not null default now(),
    answered_at timestamptz,
    answer jsonb,
    constraint pipespan_requests__kind__known check (kind in ('stack', 'cancel'))
);

create index pipespan_requests__open on pipespan_requests (job_id) where answered_at is null;
create index pipespan_requests__experiment_id on pipespan_requests (experiment_id, asked_at desc);

comment on table pipespan_requests is 'What was asked of live processes, by whom, and what they answered.';
comment on column pipespan_requests.kind is 'stack: tell where every thread stands; cancel: stop.';
