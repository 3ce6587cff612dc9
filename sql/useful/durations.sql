-- durations: how long the phases of each pipeline took, over its runs of the last 30 days
select
    experiment.name, node.node_name as phase, count(*) as runs,
    percentile_cont(0.5) within group (order by extract(epoch from node.end_time - node.start_time)) as median_s,
    max(extract(epoch from node.end_time - node.start_time)) as longest_s
from pipeline_progress as node
join experiments as experiment on experiment.id = node.experiment_id
where
    node.node_level = 'phase' and node.status = 'completed'
    and experiment.started_at >= now() - interval '30 days'
group by 1, 2
order by 1, 4 desc
