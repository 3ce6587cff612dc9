"""Which OS user the embedded server runs as, and how a child process is started as that user."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pipespan.errors import StoreUnavailableError

SYSTEM_USER = "pipespan"
# nothing of the caller's environment: PGOPTIONS, PGDATA, LD_LIBRARY_PATH would all meddle
CHILD_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C", "PGCONNECT_TIMEOUT": "10"}
CREATE_USER_COMMANDS: tuple[tuple[str, ...], ...] = (
    ("useradd", "--system", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/bin/false"),
    ("adduser", "-S", "-D", "-H", "-h", "/nonexistent", "-s", "/bin/false"),  # BusyBox
)
CREATE_USER_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Account:
    """An OS user."""

    uid: int
    gid: int
    name: str


def account_of(uid: int) -> Account:
    """Look a user up.

    Raises:
        StoreUnavailableError: the id has no name, as in a container started with a bare number.
    """
    try:
        entry = pwd.getpwuid(uid)
    except KeyError as error:
        raise StoreUnavailableError(
            f"user id {uid} has no name, and Postgres insists on one; add it to /etc/passwd"
            " or set PIPESPAN_DSN to a Postgres server"
        ) from error
    return Account(entry.pw_uid, entry.pw_gid, entry.pw_name)


def system_account() -> Account:
    """Return the system user of root's servers, made if missing; call it under the system lock."""
    account = _system_account_or_none()
    if account is None:
        _create_system_user()
        account = _system_account_or_none()
    if account is None:
        raise StoreUnavailableError(
            f"Postgres refuses to run as root and the system user {SYSTEM_USER!r} cannot be made;"
            f" run 'useradd --system {SYSTEM_USER}', or work as an ordinary user, or set PIPESPAN_DSN"
        )
    return account


def can_reach(path: Path, account: Account) -> bool:
    """Say whether the modes of a path and of all its parents let the user read and enter it."""
    resolved = path.resolve()
    if not all(_allows(parent, account, stat.S_IXOTH) for parent in resolved.parents):
        return False
    return _allows(resolved, account, stat.S_IXOTH | stat.S_IROTH)


def can_enter(path: Path, account: Account) -> bool:
    """Say whether the modes of a folder and of all its parents let the user pass through it."""
    resolved = path.resolve()
    return all(_allows(folder, account, stat.S_IXOTH) for folder in (resolved, *resolved.parents))


def run_as(
    account: Account,
    command: Sequence[str | Path],
    *,
    timeout_s: float,
    text: str = "",
    stdin: int | None = None,
    stderr: int | IO[bytes] = subprocess.PIPE,
    pass_fds: Sequence[int] = (),
) -> subprocess.CompletedProcess[str]:
    """Run a command as the user, in a session of its own, at `/`, with an environment of its own.

    Raises:
        StoreUnavailableError: it takes too long, cannot be started, or we may not become that user.
    """
    is_other = os.geteuid() != account.uid
    timeout_s = max(timeout_s, 0.1)
    try:
        return subprocess.run(
            [str(part) for part in command],
            check=False,
            input=text if stdin is None else None,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            errors="replace",
            timeout=timeout_s,
            pass_fds=pass_fds,
            start_new_session=True,
            cwd="/",
            env=CHILD_ENVIRONMENT,
            umask=0o077,
            user=account.uid if is_other else None,
            group=account.gid if is_other else None,
            extra_groups=[] if is_other else None,
        )
    except subprocess.TimeoutExpired as error:
        raise StoreUnavailableError(
            f"{str(command[0])!r} did not end within {timeout_s:.1f} s; try again with more time"
        ) from error
    except OSError as error:  # also subprocess's own errors of setgroups, setuid and exec
        raise StoreUnavailableError(
            f"cannot run {str(command[0])!r} as user {account.name!r}: {error.strerror or error};"
            " work as an ordinary user or set PIPESPAN_DSN to a Postgres server"
        ) from error


def _system_account_or_none() -> Account | None:
    try:
        entry = pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        return None
    return None if entry.pw_uid == 0 else Account(entry.pw_uid, entry.pw_gid, entry.pw_name)


def _create_system_user() -> None:
    for command in CREATE_USER_COMMANDS:
        program = shutil.which(command[0], path="/usr/sbin:/sbin:/usr/bin:/bin")
        if program is None:
            continue
        try:
            subprocess.run(
                [program, *command[1:], SYSTEM_USER],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=CREATE_USER_TIMEOUT_S,
                check=True,
            )
        except (OSError, subprocess.SubprocessError):
            continue  # Debian's adduser knows other options, /etc may be read-only: the caller looks
        return


def _allows(path: Path, account: Account, others_bits: int) -> bool:
    try:
        found = path.stat()
    except OSError:
        return False
    if found.st_uid == account.uid:
        wanted = others_bits << 6
    elif found.st_gid == account.gid:
        wanted = others_bits << 3
    else:
        wanted = others_bits
    return found.st_mode & wanted == wanted
