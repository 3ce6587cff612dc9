-- name: migrations_create
create table if not exists pipespan_migrations (
    version integer primary key,
    name text not null,
    checksum text not null,
    applied_at timestamptz not null default now()
)
