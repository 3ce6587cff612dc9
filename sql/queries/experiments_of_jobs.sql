-- name: experiments_of_jobs
-- The experiment of each of these jobs that is known.
select job.id::text as id, job.experiment_id::text as experiment_id
from processing_jobs as job
where job.id = any (%(job_ids)s::uuid[]) and job.experiment_id is not null
