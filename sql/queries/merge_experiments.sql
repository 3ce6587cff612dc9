-- name: merge_experiments
-- Writes the staged experiments, best row of each, in the order of their ids: this also locks each of them, known
-- or new, changed or not, until the end of the transaction. All writers take these locks first, so none waits in a ring.
insert into experiments as known (
    id, name, status, params, tags, command, host, user_name, git_commit, started_at, ended_at, trace_id,
    attempt, version
)
select
    best.id, best.name, best.status, best.params, best.tags, best.command, best.host, best.user_name,
    best.git_commit, best.started_at, best.ended_at, best.trace_id, best.attempt, best.version
from (
    select distinct on (staged.id)
        staged.*
    from pipespan_staged_experiments as staged
    order by
        staged.id,
        staged.attempt desc,
        pipespan_is_terminal_v1(staged.status) desc,
        staged.version desc,
        staged.seq
) as best
order by best.id
on conflict (id) do update set
    name = excluded.name,
    status = excluded.status,
    params = excluded.params,
    tags = excluded.tags,
    command = excluded.command,
    host = excluded.host,
    user_name = excluded.user_name,
    git_commit = excluded.git_commit,
    started_at = excluded.started_at,
    ended_at = excluded.ended_at,
    trace_id = excluded.trace_id,
    attempt = excluded.attempt,
    version = excluded.version
where
    (excluded.attempt, pipespan_is_terminal_v1(excluded.status), excluded.version)
    > (known.attempt, pipespan_is_terminal_v1(known.status), known.version)
