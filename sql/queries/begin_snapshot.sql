-- name: begin_snapshot
-- All that this transaction reads is as of one instant, however long it takes.
set transaction isolation level repeatable read read only
