-- name: ensure_partitions
select pipespan_ensure_partitions_v1(%(days_ahead)s::integer)
