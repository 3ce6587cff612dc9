-- name: open_requests
-- What is asked of these jobs and not answered yet; nobody waits for old stacks any more.
select request.id::text as id, request.kind, request.asked_by, request.args
from pipespan_requests as request
where
    request.job_id = any(%(job_ids)s::uuid[])
    and request.answered_at is null
    and (request.kind <> 'stack' or request.asked_at > now() - interval '1 minute')
order by request.asked_at
limit 20
