-- name: resource_timeline
-- What the processes of an experiment used, in stretches of equal length.
select
    point.bucket_start, point.job_id::text as job_id, point.samples, point.memory_mb, point.cpu_percent,
    point.disk_usage_mb, point.throughput_per_sec
from get_resource_timeline(%(experiment_id)s::uuid, %(points)s::integer, %(node_id)s::text) as point
order by point.bucket_start, point.job_id
