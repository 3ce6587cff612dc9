-- name: merge_batch
-- All that the batch brings of experiments, jobs, nodes and spans; see the migrations for the order of the locks.
select pipespan_merge_batch_v2(
    %(has_owners)s::boolean, %(has_nodes)s::boolean, %(has_spans)s::boolean, %(error_ids)s::uuid[],
    %(errors)s::bigint[]
)
