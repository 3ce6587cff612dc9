-- name: answer_request
-- Answers a request, once.
update pipespan_requests
set answered_at = now(), answer = %(answer)s::jsonb
where id = %(id)s::uuid and answered_at is null
