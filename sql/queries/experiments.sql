-- name: experiments
-- The newest experiments, newest first.
select
    experiment.id::text as id, experiment.name, experiment.status, experiment.params, experiment.tags,
    experiment.command, experiment.host, experiment.user_name, experiment.git_commit, experiment.started_at,
    experiment.ended_at, experiment.trace_id, experiment.attempt, experiment.version,
    experiment.error_count, experiment.created_at
from experiments as experiment
order by coalesce(experiment.started_at, experiment.created_at) desc, experiment.id desc
limit %(limit)s::bigint
