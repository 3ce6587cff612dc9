-- name: maintenance_overdue
-- Partitions that should have been thinned or dropped, as far as is known without reading them.
select
    count(*),
    min(due.due_at),
    (select count(*) from experiments as pinned where pinned.pinned),
    (
        select (run.value::jsonb ->> 'done_at')::timestamptz from pipespan_settings as run where run.name = 'retention_run'
    )
from (
    select
        case
            when part.ends_at <= %(rest_before)s::timestamptz then part.ends_at + (now() - %(rest_before)s::timestamptz)
            else part.ends_at + (now() - %(mild_before)s::timestamptz)
        end as due_at
    from pipespan_partition_sizes_v1() as part
    left join pipespan_thinned as known on known.partition = part.partition
    where
        (part.ends_at <= %(rest_before)s::timestamptz and known.keeps_errors is distinct from false)
        or (
            part.parent = 'pipeline_logs'
            and part.ends_at <= %(mild_before)s::timestamptz
            and known.keeps_errors is null
        )
) as due
