-- Experiments, the processes that work on them, and the ledger of what was shipped.
--
-- An existing database may have tables `experiments` and `processing_jobs` of its own: they are taken over as they
-- are, and only the columns that they lack are added. That is why every column is also in an `alter table`.

-- An ended attempt is never reopened: the merge rule of writers stands on this, see `pipespan.model.merge`.
create function pipespan_is_terminal_v1(p_status text) returns boolean
language sql immutable parallel safe
as $$ select p_status in ('completed', 'failed', 'cancelled') $$;

create table if not exists experiments (
    id uuid primary key
);

alter table experiments
    add column if not exists name text not null default '',
    add column if not exists status text not null default 'running',
    add column if not exists params jsonb not null default '{}',
    add column if not exists tags text[] not null default '{}',
    add column if not exists command text,
    add column if not exists host text,
    add column if not exists user_name text,
    add column if not exists git_commit text,
    add column if not exists started_at timestamptz,
    add column if not exists ended_at timestamptz,
    add column if not exists trace_id text,
    add column if not exists attempt integer not null default 0,
    add column if not exists version bigint not null default 0,
    add column if not exists error_count bigint not null default 0,
    add column if not exists created_at timestamptz not null default now();

-- Rows that were there before may hold other words: only new ones are checked.
alter table experiments
    add constraint experiments__status__known
    check (status in ('pending', 'running', 'completed', 'failed', 'cancelled')) not valid;

create index if not exists experiments__started_at on experiments (started_at desc nulls last);
create index if not exists experiments__name on experiments (name);

comment on table experiments is 'One logical run of a pipeline.';
comment on column experiments.error_count is 'How many log records of level ERROR or CRITICAL were stored.';
comment on column experiments.attempt is 'Which restart wrote the row, from 1; 0 is a stub that any writer may replace.';
comment on column experiments.version is 'Wall clock in ns at the change; the higher one of an attempt wins.';

create table if not exists processing_jobs (
    id uuid primary key
);

alter table processing_jobs
    add column if not exists experiment_id uuid references experiments (id) on delete cascade,
    add column if not exists attempt integer not null default 0,
    add column if not exists parent_job_id uuid,
    add column if not exists host text not null default '',
    add column if not exists boot_id text,
    add column if not exists pid bigint not null default 0,
    add column if not exists process_started_at timestamptz,
    add column if not exists status text not null default 'running',
    add column if not exists cause text,
    add column if not exists exit_code bigint,
    add column if not exists exit_signal integer,
    add column if not exists evidence jsonb not null default '{}',
    add column if not exists command text,
    add column if not exists started_at timestamptz not null default now(),
    add column if not exists heartbeat_at timestamptz not null default now(),
    add column if not exists progress_at timestamptz not null default now(),
    add column if not exists ended_at timestamptz,
    add column if not exists log_messages text[] not null default '{}',
    add column if not exists version bigint not null default 0;

alter table processing_jobs
    add constraint processing_jobs__status__known
    check (status in ('pending', 'running', 'completed', 'failed', 'cancelled')) not valid;

create index if not exists processing_jobs__experiment_id on processing_jobs (experiment_id);

comment on table processing_jobs is 'One process that works on an experiment.';
comment on column processing_jobs.heartbeat_at is 'When the process last said that it lives.';
comment on column processing_jobs.progress_at is 'When its work last moved.';

create table pipespan_streams (
    stream_id uuid not null,
    lane text not null,
    shipped_bytes bigint not null,
    updated_at timestamptz not null default now(),
    primary key (stream_id, lane)
);

comment on table pipespan_streams is 'How far each lane of each spool was shipped; moves in the transaction of the rows.';
