-- name: prune_requests
select pipespan_prune_requests_v1(%(limit)s::integer)
