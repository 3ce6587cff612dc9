-- name: doomed_experiments
select doomed.experiment_id::text, doomed.name, doomed.status, doomed.last_sign
from pipespan_doomed_v1(%(before)s::timestamptz, %(keep_runs)s::integer) as doomed
