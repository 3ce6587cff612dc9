-- name: select_experiments
-- The newest experiments that match, newest first.
select
    experiment.id::text as id, experiment.name, experiment.status, experiment.params, experiment.tags,
    experiment.command, experiment.host, experiment.user_name, experiment.git_commit, experiment.started_at,
    experiment.ended_at, experiment.trace_id, experiment.attempt, experiment.version,
    experiment.error_count, experiment.created_at
from experiments as experiment
where
    (%(name)s::text is null or experiment.name = %(name)s::text)
    and (%(status)s::text is null or experiment.status = %(status)s::text)
    and (%(tag)s::text is null or %(tag)s::text = any (experiment.tags))
    and (
        %(since)s::timestamptz is null
        or coalesce(experiment.started_at, experiment.created_at) >= %(since)s::timestamptz
    )
    and (
        %(until)s::timestamptz is null
        or coalesce(experiment.started_at, experiment.created_at) < %(until)s::timestamptz
    )
order by coalesce(experiment.started_at, experiment.created_at) desc, experiment.id desc
limit %(limit)s::bigint
