-- name: copy_staged_experiments
-- Takes the lines of ExperimentRow, its fields in their order.
copy pipespan_batch_experiments_v1 (
    id, name, status, params, tags, command, host, user_name, git_commit, started_at, ended_at, trace_id,
    attempt, version
) from stdin
