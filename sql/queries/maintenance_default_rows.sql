-- name: maintenance_default_rows
-- Counted up to a limit: that there are any is what matters.
select 'pipeline_logs', (select count(*) from (select from pipeline_logs_default limit %(limit)s::integer) as counted)
union all
select 'pipeline_events', (select count(*) from (select from pipeline_events_default limit %(limit)s::integer) as counted)
union all
select 'pipeline_metrics', (select count(*) from (select from pipeline_metrics_default limit %(limit)s::integer) as counted)
