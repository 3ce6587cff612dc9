-- name: snapshot_experiments
-- The experiment as ExperimentRow has it, and its count of errors. One that was adopted may lack a start.
select
    experiment.id::text as id, experiment.name, experiment.status, experiment.params, experiment.tags,
    experiment.command, experiment.host, experiment.user_name, experiment.git_commit,
    coalesce(experiment.started_at, experiment.created_at) as started_at,
    experiment.ended_at, experiment.trace_id, experiment.attempt, experiment.version,
    experiment.error_count
from experiments as experiment
where experiment.id = %(experiment_id)s::uuid
