-- name: pin_experiment
select pipespan_pin_v1(%(experiment_id)s::uuid, %(is_pinned)s::boolean)
