-- slowest_steps: where the newest experiment spends its time
select node.node_id, node.status, coalesce(node.end_time, now()) - node.start_time as took
from pipeline_progress as node
where
    node.experiment_id = (select id from experiments order by started_at desc nulls last limit 1)
    and node.node_level in ('step', 'substep')
    and node.start_time is not null
order by took desc
limit 20
