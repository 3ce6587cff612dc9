-- running: what runs, and when it last gave a sign of life
select
    experiment.id, experiment.name, experiment.started_at,
    now() - max(job.heartbeat_at) as silent_for,
    now() - max(job.progress_at) as no_progress_for,
    count(job.id) as jobs
from experiments as experiment
left join processing_jobs as job on job.experiment_id = experiment.id and job.ended_at is null
where experiment.status = 'running'
group by experiment.id
order by experiment.started_at desc nulls last
limit 50
