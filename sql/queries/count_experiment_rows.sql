-- name: count_experiment_rows
select
    (select count(*) from pipeline_progress as node where node.experiment_id = any (%(ids)s::uuid[]))
    + (select count(*) from processing_jobs as job where job.experiment_id = any (%(ids)s::uuid[]))
    + (select count(*) from pipeline_logs as log where log.experiment_id = any (%(ids)s::uuid[]))
    + (select count(*) from pipeline_events as event where event.experiment_id = any (%(ids)s::uuid[]))
    + (select count(*) from pipeline_metrics as metric where metric.experiment_id = any (%(ids)s::uuid[]))
    + cardinality(%(ids)s::uuid[])
