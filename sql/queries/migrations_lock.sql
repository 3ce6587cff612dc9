-- name: migrations_lock
-- One migrator at a time; let go at the end of the transaction, so it works behind a pooler too.
select pg_advisory_xact_lock(hashtext('pipespan migrations'))
