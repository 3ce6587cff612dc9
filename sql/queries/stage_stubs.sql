-- name: stage_stubs
-- Rows may come before the experiment that they belong to: a stub stands for it until its owner's row arrives.
-- Attempt 0 and version -1 lose against every other row; of a known experiment the stub only takes the lock.
insert into pipespan_staged_experiments (id, name, status, params, tags, started_at, attempt, version)
select missing.id, missing.id::text, 'running', '{}', '{}', now(), 0, -1
from (
    select unnest(%(experiment_ids)s::uuid[]) as id
    union
    select node.experiment_id from pipespan_staged_nodes as node
    union
    select job.experiment_id from pipespan_staged_jobs as job
) as missing
