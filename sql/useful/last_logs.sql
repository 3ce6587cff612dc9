-- last_logs: the last 100 log records of the newest experiment
select log.timestamp, log.level, log.node_id, log.message
from pipeline_logs as log
where log.experiment_id = (select id from experiments order by started_at desc nulls last limit 1)
order by log.timestamp desc, log.id desc
limit 100
