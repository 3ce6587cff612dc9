-- name: merge_nodes
-- Writes the staged nodes, best row of each, new ones in their order of arrival; the rule is that of
-- `pipespan.model.merge`. Sums over children are not touched: they are the trigger's.
insert into pipeline_progress as known (
    experiment_id, node_id, node_level, parent_id, node_name, status, completed_units, total_units, unit,
    weight, message, error_type, start_time, end_time, metadata, trace_id, span_id, job_id, attempt, version
)
select
    best.experiment_id, best.node_id, best.node_level, best.parent_id, best.node_name, best.status,
    best.completed_units, best.total_units, best.unit, best.weight, best.message, best.error_type,
    best.start_time, best.end_time, best.metadata, best.trace_id, best.span_id, best.job_id, best.attempt,
    best.version
from (
    select distinct on (staged.experiment_id, staged.node_id)
        staged.*,
        min(staged.seq) over (partition by staged.experiment_id, staged.node_id) as first_seq
    from pipespan_staged_nodes as staged
    order by
        staged.experiment_id, staged.node_id,
        staged.attempt desc,
        pipespan_is_terminal_v1(staged.status) desc,
        staged.version desc,
        staged.seq
) as best
order by best.first_seq
on conflict (experiment_id, node_id) do update set
    node_level = excluded.node_level,
    parent_id = excluded.parent_id,
    node_name = excluded.node_name,
    status = excluded.status,
    completed_units = excluded.completed_units,
    total_units = excluded.total_units,
    unit = excluded.unit,
    weight = excluded.weight,
    message = excluded.message,
    error_type = excluded.error_type,
    start_time = excluded.start_time,
    end_time = excluded.end_time,
    metadata = excluded.metadata,
    trace_id = excluded.trace_id,
    span_id = excluded.span_id,
    job_id = excluded.job_id,
    attempt = excluded.attempt,
    version = excluded.version,
    updated_at = now()
where
    (excluded.attempt, pipespan_is_terminal_v1(excluded.status), excluded.version)
    > (known.attempt, pipespan_is_terminal_v1(known.status), known.version)
