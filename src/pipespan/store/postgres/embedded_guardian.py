"""The idle stop: a small shell loop beside the server that stops it after a time without clients.

It is no Python process, so that it costs next to nothing, and when anything goes wrong it leaves the server
alone. All processes of the server hold the writing end of a pipe; when the last one is gone the reading end
tells the loop to end too, at once.
"""

from __future__ import annotations

import math

from pipespan.store.postgres.embedded_binaries import Programs
from pipespan.store.postgres.embedded_place import Place
from pipespan.store.postgres.embedded_user import run_as

SPAWN_TIMEOUT_S = 10.0
MAX_POLL_S = 300
LOG_BYTES = 4 * 1024 * 1024
# a server that is a zombie or does not answer keeps no guardian for ever
MAX_FAILURES = 12

# clients now, and all sessions ever: short ones between two looks count too; our own are in database postgres
ACTIVITY = (
    "select (select count(*) from pg_stat_activity where backend_type = 'client backend'"
    " and pid <> pg_backend_pid())"
    " || ' ' || (select sum(sessions) from pg_stat_database where datname <> 'postgres')"
)

SCRIPT = r"""
(cat <&3 >/dev/null; kill 0) &
exec 3<&-
pid=$1 pid_file=$2 log=$3 log_bytes=$4 poll=$5 idle_stop=$6 max_failures=$7 query=$8
shift 8
idle=0 failures=0 last=
while sleep "$poll"; do
    kill -0 "$pid" || exit
    read -r owner < "$pid_file" || exit
    [ "$owner" = "$pid" ] || exit
    size=$(wc -c < "$log") && [ "$size" -gt "$log_bytes" ] && : > "$log"
    [ "$idle_stop" -gt 0 ] || continue
    if now=$("$@" "$query") && [ -n "$now" ]; then
        failures=0
    else
        failures=$((failures + 1)) idle=0
        [ "$failures" -lt "$max_failures" ] || exit
        continue
    fi
    if [ "$now" = "$last" ] && [ "${now%% *}" = 0 ]; then
        idle=$((idle + poll))
    else
        idle=0
    fi
    last=$now
    if [ "$idle" -ge "$idle_stop" ]; then
        kill -INT "$pid"
        exit
    fi
done
"""


def spawn_guardian(
    place: Place, programs: Programs, pid: int, *, server_ends: int, idle_stop_s: float | None
) -> None:
    """Start the loop beside the server of this pid; the end of the pipe `server_ends` tells of its end."""
    is_never = idle_stop_s is None or math.isinf(idle_stop_s)
    idle_stop = 0 if idle_stop_s is None or is_never else max(1, round(idle_stop_s))
    poll = min(MAX_POLL_S, max(1, idle_stop // 4)) if idle_stop else MAX_POLL_S
    arguments = (pid, place.data_dir / "postmaster.pid", place.log, LOG_BYTES, poll, idle_stop, MAX_FAILURES)
    psql = ("-XAtq", "-w", "-h", str(place.socket_dir), "-U", "pipespan", "-d", "postgres", "-c")
    run_as(
        place.account,
        [
            # the outer shell ends at once: the loop is nobody's child, and holds nothing of the caller's
            *("/bin/sh", "-c", 'exec 3<&0; /bin/sh -c "$@" </dev/null >/dev/null 2>&1 &', "sh"),
            *(SCRIPT, "pipespan-guardian", *map(str, arguments), ACTIVITY, str(programs.path("psql")), *psql),
        ],
        timeout_s=SPAWN_TIMEOUT_S,
        stdin=server_ends,
    )
