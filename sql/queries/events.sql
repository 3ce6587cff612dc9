-- name: events
-- The newest events of an experiment, newest first.
select
    event.id, event.experiment_id::text as experiment_id, event.job_id::text as job_id, event.node_id,
    event.event_type, event.source, event.severity, event.title, event.details, event.timestamp
from pipeline_events as event
where
    event.experiment_id = %(experiment_id)s::uuid
    and event.timestamp >= (
        select min(stretch.since)
        from pipespan_stretches_v1('pipeline_events', %(experiment_id)s::uuid) as stretch
    )
    and event.timestamp < (
        select max(stretch.until)
        from pipespan_stretches_v1('pipeline_events', %(experiment_id)s::uuid) as stretch
    )
order by event.timestamp desc, event.id desc
limit %(limit)s::bigint
