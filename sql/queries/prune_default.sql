-- name: prune_default
select pipespan_prune_default_v1(
    %(mild_before)s::timestamptz, %(rest_before)s::timestamptz, %(limit)s::integer
)
