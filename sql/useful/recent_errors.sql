-- recent_errors: errors of the last day, over all experiments
select log.timestamp, experiment.name, log.node_id, log.error_type, log.message
from pipeline_logs as log
join experiments as experiment on experiment.id = log.experiment_id
where log.timestamp >= now() - interval '1 day' and log.level in ('ERROR', 'CRITICAL')
order by log.timestamp desc
limit 100
