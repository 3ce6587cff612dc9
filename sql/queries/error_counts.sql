-- name: error_counts
-- How many errors each node logged itself.
select log.node_id, count(*) as errors
from pipeline_logs as log
where log.experiment_id = %(experiment_id)s::uuid and log.level in ('ERROR', 'CRITICAL')
group by log.node_id
