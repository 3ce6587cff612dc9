-- name: snapshot_events
-- The events of an experiment as EventRow has them, in order of time.
select
    event.experiment_id::text as experiment_id, event.job_id::text as job_id, event.node_id,
    event.event_type, event.source, event.severity, event.title, event.details, event.timestamp
from pipeline_events as event
where event.experiment_id = %(experiment_id)s::uuid
order by event.timestamp, event.id
