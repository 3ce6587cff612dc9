-- logs_by_minute: how many records of which level the newest experiment wrote, by minute
select date_trunc('minute', log.timestamp) as minute, log.level, count(*) as records
from pipeline_logs as log
where log.experiment_id = (select id from experiments order by started_at desc nulls last limit 1)
group by 1, 2
order by 1, 2
