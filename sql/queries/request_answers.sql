-- name: request_answers
-- The answers that are there.
select request.id::text as id, request.answer
from pipespan_requests as request
where request.id = any(%(ids)s::uuid[]) and request.answered_at is not null
