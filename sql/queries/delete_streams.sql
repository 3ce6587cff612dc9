-- name: delete_streams
select pipespan_prune_streams_v1(%(before)s::timestamptz, %(limit)s::integer)
