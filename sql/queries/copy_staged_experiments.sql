-- name: copy_staged_experiments
-- Takes the lines of ExperimentRow, its fields in their order.
copy pipespan_staged_experiments (
    id, name, status, params, tags, command, host, user_name, git_commit, started_at, ended_at, trace_id,
    attempt, version
) from stdin
