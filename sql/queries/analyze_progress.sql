-- name: analyze_progress
analyze pipeline_progress
