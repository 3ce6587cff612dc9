-- name: events_after
-- The events that match and came after a known one, in order of arrival; filters as in events.
with recursive below as (
    select node.node_id
    from pipeline_progress as node
    where node.experiment_id = %(experiment_id)s::uuid and node.parent_id = %(node_id)s::text
    union
    select node.node_id
    from below
    join pipeline_progress as node
        on node.experiment_id = %(experiment_id)s::uuid and node.parent_id = below.node_id
)

select
    event.id, event.experiment_id::text as experiment_id, event.job_id::text as job_id, event.node_id,
    event.event_type, event.source, event.severity, event.title, event.details, event.timestamp
from pipeline_events as event
where
    event.experiment_id = %(experiment_id)s::uuid
    and event.id > %(after_id)s::bigint
    and (%(event_type)s::text is null or event.event_type = %(event_type)s::text)
    and (%(severities)s::text[] is null or event.severity = any (%(severities)s::text[]))
    and event.timestamp >= (
        select min(stretch.since)
        from pipespan_stretches_v1(
            'pipeline_events', %(experiment_id)s::uuid, %(since)s::timestamptz, %(until)s::timestamptz
        ) as stretch
    )
    and event.timestamp < (
        select max(stretch.until)
        from pipespan_stretches_v1(
            'pipeline_events', %(experiment_id)s::uuid, %(since)s::timestamptz, %(until)s::timestamptz
        ) as stretch
    )
    and (
        %(node_id)s::text is null
        or event.node_id = %(node_id)s::text
        or starts_with(event.node_id, %(node_id)s::text || '/')
        or event.node_id in (select below.node_id from below)
    )
order by event.id
limit %(limit)s::bigint
