-- top_of_tree: how far the phases of the newest experiment are
select node.node_id, node.status, round(node.progress_percent, 1) as percent, node.end_time - node.start_time as took, node.message
from pipeline_progress as node
where
    node.experiment_id = (select id from experiments order by started_at desc nulls last limit 1)
    and node.node_level in ('pipeline', 'phase')
order by node.start_time nulls last, node.node_id
