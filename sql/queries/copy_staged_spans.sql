-- name: copy_staged_spans
-- Takes the lines of SpanRow, its fields in their order.
copy pipespan_batch_spans_v1 (experiment_id, span_id, parent_span_id, is_node) from stdin
