-- name: add_errors
-- Adds to the error counts of experiments; the writer holds their locks already.
update experiments as known
set error_count = known.error_count + added.errors
from unnest(%(experiment_ids)s::uuid[], %(errors)s::bigint[]) as added (id, errors)
where known.id = added.id
