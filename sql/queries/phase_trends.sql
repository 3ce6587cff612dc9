-- name: phase_trends
-- Each measure of each phase of a pipeline over its last runs.
select
    trend.node_id, trend.measure, trend.runs, trend.min, trend.mean, trend.median, trend.p90, trend.max,
    trend.last
from get_phase_trends(%(pipeline)s::text, %(phase)s::text, %(last)s::integer) with ordinality as trend
order by trend.ordinality
