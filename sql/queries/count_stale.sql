-- name: count_stale
select pipespan_count_stale_v1(%(relation)s::oid, %(mild_before)s::timestamptz, %(rest_before)s::timestamptz)
