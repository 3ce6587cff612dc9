-- name: delete_experiments
select pipespan_delete_experiments_v1(%(ids)s::uuid[], %(seen)s::timestamptz, %(limit)s::integer)
