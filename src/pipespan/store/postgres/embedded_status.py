"""What can be told of an embedded server by looking only: where it is, whether it lives and answers.

This is the path of every call when the server runs already: it starts no process and takes a fraction of a
millisecond.
"""

from __future__ import annotations

import hashlib
import os
import socket
import stat
from dataclasses import dataclass
from pathlib import Path

from pipespan.errors import StoreUnavailableError

SYSTEM_FOLDER = Path("/var/lib/pipespan")
PORT = 5432
# a connect to a listening unix socket is immediate unless the backlog is full
CONNECT_TIMEOUT_S = 2.0
PID_FILE_LINES = 8


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """A running server; `version` is the major version of its data folder."""

    data_dir: Path
    socket_dir: Path
    pid: int
    version: str
    dsn: str


@dataclass(frozen=True, slots=True)
class PidFile:
    """What the server says of itself in `postmaster.pid`."""

    pid: int
    socket_dir: Path
    is_ready: bool


def server_status(state_dir: Path) -> ServerStatus | None:
    """Return the state folder's running and ready server, or None; starts no process and changes nothing.

    Raises:
        StoreUnavailableError: the server belongs to another user.
    """
    if os.name == "nt":
        return None
    base = existing_base(state_dir.resolve())
    if base is None:
        return None
    try:
        return _status_of(base)
    except PermissionError as error:
        raise StoreUnavailableError(
            f"the embedded database of {str(state_dir)!r} belongs to another user;"
            " name a folder of your own by PIPESPAN_STATE_DIR or a server by PIPESPAN_DSN"
        ) from error


def existing_base(state_dir: Path) -> Path | None:
    """Return the folder that holds the server of a resolved state folder, or None if there is none yet."""
    candidates = [state_dir / "postgres"]
    if os.geteuid() == 0:
        candidates.insert(0, system_base(state_dir))
    for base in candidates:
        # access is false for what may not be seen, where Path.exists raises
        if os.access(base / "data", os.F_OK) or (os.access(base, os.F_OK) and not os.access(base, os.X_OK)):
            return base
    return None


def system_base(state_dir: Path) -> Path:
    """Return root's folder for the server of a state folder that the system user cannot reach."""
    digest = hashlib.sha256(os.fsencode(state_dir)).hexdigest()[:12]
    return SYSTEM_FOLDER / digest


def read_pid_file(data_dir: Path) -> PidFile | None:
    """Read `postmaster.pid`; None if it is missing, empty or broken."""
    try:
        lines = (data_dir / "postmaster.pid").read_text("utf-8", "surrogateescape").splitlines()
    except FileNotFoundError:
        return None
    if len(lines) < PID_FILE_LINES or not lines[0].strip().isdigit():
        return None
    return PidFile(int(lines[0]), Path(lines[4]), lines[7].strip() == "ready")


def answers(socket_dir: Path) -> bool:
    """Say whether somebody listens on the server's socket."""
    connection = connect_socket(socket_dir)
    if connection is None:
        return False
    connection.close()
    return True


def connect_socket(socket_dir: Path) -> socket.socket | None:
    """Connect to the server's socket without a word of its protocol; None if nobody listens."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(CONNECT_TIMEOUT_S)
    try:
        connection.connect(str(socket_dir / f".s.PGSQL.{PORT}"))
    except PermissionError:
        connection.close()
        raise
    except OSError:
        connection.close()
        return None
    return connection


def is_private_folder(folder: Path, uid: int) -> bool:
    """Say whether the path is a real folder of this owner that nobody else can enter."""
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == uid and stat.S_IMODE(found.st_mode) & 0o077 == 0


def _status_of(base: Path) -> ServerStatus | None:
    data_dir = base / "data"
    pid_file = read_pid_file(data_dir)
    if pid_file is None or not pid_file.is_ready:
        return None
    # a socket folder below /tmp could be another user's trap
    if not is_private_folder(pid_file.socket_dir, data_dir.stat().st_uid) or not answers(pid_file.socket_dir):
        return None
    version = (data_dir / "PG_VERSION").read_text("utf-8").strip()
    return ServerStatus(data_dir, pid_file.socket_dir, pid_file.pid, version, _dsn(pid_file.socket_dir))


def _dsn(socket_dir: Path) -> str:
    # the port is named because PGPORT would count otherwise
    return f"host={_quoted(str(socket_dir))} port={PORT} user=pipespan dbname=pipespan"


def _quoted(value: str) -> str:
    if value.replace("/", "").replace("-", "").replace("_", "").replace(".", "").isalnum():
        return value
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
