-- name: open_spans
select pipespan_open_spans_v1()
