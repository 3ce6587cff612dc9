-- name: merge_batch
-- All that the batch brings of experiments, jobs and nodes; see the migrations for the order of the locks.
select pipespan_merge_batch_v1(
    %(has_owners)s::boolean, %(has_nodes)s::boolean, %(error_ids)s::uuid[], %(errors)s::bigint[]
)
