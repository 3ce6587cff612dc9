-- name: ask
-- Asks something of a job's process.
insert into pipespan_requests (id, experiment_id, job_id, kind, args, asked_by)
values (
    %(id)s::uuid, %(experiment_id)s::uuid, %(job_id)s::uuid, %(kind)s::text, %(args)s::jsonb, %(asked_by)s::text
)
on conflict (id) do nothing
