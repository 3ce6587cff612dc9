-- name: clear_staged_nodes
-- Cheaper than to truncate or to create anew, which writes to the catalogue each time.
delete from pipespan_staged_nodes
