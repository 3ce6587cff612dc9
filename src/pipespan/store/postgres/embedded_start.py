"""Start and stop the embedded server under its lock, and heal what a crash left behind."""

from __future__ import annotations

import os
import signal
import socket
import struct
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from pipespan.errors import StoreUnavailableError
from pipespan.store.postgres.embedded_binaries import Programs, find_programs, reachable_programs
from pipespan.store.postgres.embedded_cluster import (
    data_major,
    initialise,
    launch,
    remove_unfinished,
    write_configuration,
)
from pipespan.store.postgres.embedded_guardian import spawn_guardian
from pipespan.store.postgres.embedded_lock import is_held, locked, open_lock, try_lock
from pipespan.store.postgres.embedded_place import (
    Place,
    choose_place,
    make_base,
    make_socket_folder,
    make_system_folder,
    place_of,
)
from pipespan.store.postgres.embedded_status import (
    SYSTEM_FOLDER,
    answers,
    connect_socket,
    read_pid_file,
    server_status,
)

POLL_S = 0.005
# children of a killed server notice within moments; who holds the lock longer is a fork of a starter
ORPHANS_S = 2.0


def start(state_dir: Path, *, deadline: float, idle_stop_s: float | None) -> None:
    """Make and start the server of a resolved state folder unless somebody else does so meanwhile."""
    with _system_lock(deadline):
        place = choose_place(state_dir)
        programs = find_programs(data_major(place.data_dir))
        if os.geteuid() == 0:
            programs = reachable_programs(programs, place.account)
    make_base(place, state_dir)
    with locked(place.lock, deadline=deadline):
        if server_status(state_dir) is None:
            _start_locked(place, programs, deadline, idle_stop_s)


def stop(base: Path, *, deadline: float) -> bool:
    """Stop the server of this folder; False if none ran."""
    place = place_of(base)
    with locked(place.lock, deadline=deadline):
        if not _is_alive(place):
            return False
        _end(place, deadline)
        _remove_far_socket_folder(place)
        return True


def _system_lock(deadline: float) -> AbstractContextManager[None]:
    """Guard what all of root's servers share: the system user and the copied programs."""
    if os.geteuid() != 0:
        return nullcontext()
    make_system_folder()
    return locked(SYSTEM_FOLDER / "lock", deadline=deadline)


def _start_locked(place: Place, programs: Programs, deadline: float, idle_stop_s: float | None) -> None:
    alive = open_lock(place.alive)
    try:
        if _take_over(place, alive, deadline):
            return
        if data_major(place.data_dir) is None:
            initialise(place, programs, deadline)
        else:
            remove_unfinished(place)
        make_socket_folder(place)
        write_configuration(place, programs)
        pid = _launch_guarded(place, programs, alive, deadline, idle_stop_s)
    finally:
        os.close(alive)  # never unlocked: the server's processes share it
    _wait_until_ready(place, pid, deadline)


def _launch_guarded(
    place: Place, programs: Programs, alive: int, deadline: float, idle_stop_s: float | None
) -> int:
    server_ends, kept_by_server = os.pipe()
    try:
        pid = launch(place, programs, (alive, kept_by_server), deadline)
        spawn_guardian(place, programs, pid, server_ends=server_ends, idle_stop_s=idle_stop_s)
    finally:
        os.close(server_ends)
        os.close(kept_by_server)
    return pid


def _take_over(place: Place, alive: int, deadline: float) -> bool:
    """Wait until no process of an earlier server lives; True if that server turns out to be well.

    One that was launched by a starter who then died gets ready by itself; one that has lost its pid file or
    its socket is ended; children of a killed one end by themselves.
    """
    orphans_until = min(deadline, time.monotonic() + ORPHANS_S)
    while not try_lock(alive):
        pid_file = read_pid_file(place.data_dir)
        if pid_file is not None and pid_file.is_ready and answers(pid_file.socket_dir):
            return True
        is_broken = pid_file is None or pid_file.is_ready
        if is_broken and _postmaster_pid(place) is not None:
            _end(place, deadline)
        elif time.monotonic() > orphans_until and (pid_file is None or not _is_process(pid_file.pid)):
            return False  # Postgres itself still looks for orphans through the pid file, which stays
        elif time.monotonic() > deadline:
            raise StoreUnavailableError(
                f"a server holds {str(place.data_dir)!r} but does not answer, perhaps in another container;"
                " stop it there, or name another folder by PIPESPAN_STATE_DIR"
            )
        time.sleep(POLL_S)
    # nobody lives: a stale pid file may name a pid that somebody else has by now, or be empty
    (place.data_dir / "postmaster.pid").unlink(missing_ok=True)
    return False


def _wait_until_ready(place: Place, pid: int, deadline: float) -> None:
    while True:
        pid_file = read_pid_file(place.data_dir)
        if pid_file is not None and pid_file.pid == pid and pid_file.is_ready:
            return
        # a zombie is a process still, but holds no lock
        if not is_held(place.alive) or not _is_process(pid):
            raise StoreUnavailableError(f"the embedded database did not start: {last_words(place)}")
        if time.monotonic() > deadline:
            raise StoreUnavailableError(
                f"the embedded database is not ready yet, it may be recovering; see {str(place.log)!r}"
                " and try again"
            )
        time.sleep(POLL_S)


def last_words(place: Place) -> str:
    """Return the line of the log that says best why the server ended, with a remedy."""
    with place.log.open("rb") as log:
        log.seek(max(0, place.log.stat().st_size - 8192))
        lines = log.read().decode("utf-8", "replace").splitlines()
    telling = [line for line in lines if "FATAL" in line or "PANIC" in line or "No space left" in line]
    words = (telling or lines or ["it left no word"])[-1].strip()
    if "No space left" in "".join(telling):
        return f"{words}; free some disk space and try again"
    return f"{words}; see {str(place.log)!r}"


def _is_alive(place: Place) -> bool:
    pid_file = read_pid_file(place.data_dir)
    if pid_file is not None and answers(pid_file.socket_dir):
        return True
    # a child that some starter's program forked in a bad moment holds the lock too, but is no server
    has_traces = (place.data_dir / "postmaster.pid").exists() or answers(place.socket_dir)
    return has_traces and is_held(place.alive)


def _end(place: Place, deadline: float) -> None:
    """Shut the server down, clients or not, and wait until its last process is gone."""
    pid = _postmaster_pid(place)
    if pid is not None:
        os.kill(pid, signal.SIGINT)
    while _is_alive(place):
        if time.monotonic() > deadline:
            raise StoreUnavailableError(
                f"the embedded database in {str(place.data_dir)!r} (pid {pid}) does not stop;"
                " try again with more time"
            )
        time.sleep(POLL_S)
    # the pid file goes a moment before the last process
    orphans_until = min(deadline, time.monotonic() + ORPHANS_S)
    while is_held(place.alive) and time.monotonic() < orphans_until:
        time.sleep(POLL_S)


def _postmaster_pid(place: Place) -> int | None:
    """Return the pid of the living server as this process sees it; None if it cannot be told for sure."""
    pid_file = read_pid_file(place.data_dir)
    if sys.platform != "linux":
        return None if pid_file is None else pid_file.pid
    connection = connect_socket(place.socket_dir if pid_file is None else pid_file.socket_dir)
    if connection is not None:
        with connection:
            credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        pid, uid, _ = struct.unpack("3i", credentials)
        return int(pid) if pid > 0 and uid == place.account.uid else None
    if pid_file is None:
        return None
    # its socket is gone: a number in a file alone is no leave to signal
    try:
        command = Path(f"/proc/{pid_file.pid}/cmdline").read_bytes()
    except OSError:
        return None
    return pid_file.pid if os.fsencode(place.data_dir) in command.split(b"\0") else None


def _is_process(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _remove_far_socket_folder(place: Place) -> None:
    if place.socket_dir.parent != place.base:
        try:
            place.socket_dir.rmdir()
        except OSError:
            pass  # not empty, or not there
