-- artifacts: what experiments of the last 7 days made
select event.timestamp, experiment.name, event.node_id, event.title, event.details
from pipeline_events as event
join experiments as experiment on experiment.id = event.experiment_id
where event.event_type = 'artifact' and event.timestamp >= now() - interval '7 days'
order by event.timestamp desc
limit 100
