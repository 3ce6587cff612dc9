-- name: drop_staged_nodes
-- A table emptied by DELETE grows all the same: the writer exchanges it now and then.
drop table if exists pipespan_staged_nodes
