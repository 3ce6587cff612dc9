-- name: phase_history
-- The runs of the phases of a pipeline, newest first.
select
    run.experiment_id::text as experiment_id, run.experiment_name, run.node_id, run.node_name,
    run.node_level, run.attempt, run.status, run.start_time, run.end_time, run.duration_s,
    run.peak_memory_mb, run.cpu_s, run.completed_units, run.throughput_per_s, run.error_count
from get_phase_history(%(pipeline)s::text, %(phase)s::text, %(limit)s::integer)
    with ordinality as run
order by run.ordinality
