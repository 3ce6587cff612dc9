-- name: clear_staged_jobs
-- Cheaper than to truncate or to create anew, which writes to the catalogue each time.
delete from pipespan_staged_jobs
