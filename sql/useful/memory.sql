-- memory: memory and CPU of the newest experiment's processes, by minute
select
    date_trunc('minute', metric.timestamp) as minute, metric.job_id,
    max(metric.memory_mb) as memory_mb, avg(metric.cpu_percent) as cpu_percent
from pipeline_metrics as metric
where metric.experiment_id = (select id from experiments order by started_at desc nulls last limit 1)
group by 1, 2
order by 1, 2
