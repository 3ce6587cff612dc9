-- name: migrations_exist
select to_regclass('pipespan_migrations') is not null
