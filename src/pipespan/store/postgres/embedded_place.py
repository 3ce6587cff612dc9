"""The folders of one embedded server, and whether their file system can carry a database."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import sys
from dataclasses import dataclass
from pathlib import Path

from pipespan.errors import StoreUnavailableError
from pipespan.store.postgres.embedded_status import (
    PORT,
    SYSTEM_FOLDER,
    existing_base,
    is_private_folder,
    system_base,
)
from pipespan.store.postgres.embedded_user import Account, account_of, can_enter, system_account

# a fresh data folder with its first WAL segment takes about 60 MB
MIN_FREE_BYTES = 150 * 1024 * 1024
# sun_path without the closing NUL
MAX_SOCKET_PATH_BYTES = 103 if sys.platform == "darwin" else 107
NETWORK_FILE_SYSTEMS = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ncpfs", "lustre", "gpfs", "panfs"),
        *("pvfs2", "orangefs", "beegfs", "ceph", "glusterfs", "gfs2", "ocfs2", "wekafs"),
        *("vboxsf", "davfs", "drvfs", "fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.juicefs"),
        *("fuse.s3fs", "fuse.rclone", "fuse.gcsfuse", "fuse.mount-s3", "fuse.goofys", "fuse.davfs2"),
    }
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server lives and which user it runs as.

    As root `base` is root's and what the server writes in it is the account's; else all is the user's.
    """

    base: Path
    account: Account

    @property
    def data_dir(self) -> Path:
        """Return the data folder, which belongs to the server's user."""
        return self.base / "data"

    @property
    def log(self) -> Path:
        """Return the server's log file."""
        return self.base / "server.log"

    @property
    def lock(self) -> Path:
        """Return the lock of who starts or stops the server."""
        return self.base / "lock"

    @property
    def alive(self) -> Path:
        """Return the lock that all processes of a living server hold."""
        return self.base / "alive"

    @property
    def socket_dir(self) -> Path:
        """Return the folder of the socket; below /tmp if the path is too long for the kernel, or has a comma."""
        folder = self.base / "run"
        is_short = len(os.fsencode(folder / f".s.PGSQL.{PORT}")) <= MAX_SOCKET_PATH_BYTES
        if is_short and "," not in str(folder):  # libpq would read a list of hosts
            return folder
        # not XDG_RUNTIME_DIR: it is removed at logout, and the server stays
        digest = hashlib.sha256(os.fsencode(self.base)).hexdigest()[:12]
        return Path(f"/tmp/pipespan-{self.account.uid}-{digest}")  # noqa: S108 - checked below


def choose_place(state_dir: Path) -> Place:
    """Choose the folder and the user for the server of a resolved state folder; nothing is made in it yet.

    Raises:
        StoreUnavailableError: we are root and the data are an ordinary user's; root writes in no folder that
            somebody else could swap for a link meanwhile.
    """
    me = account_of(os.geteuid())
    if me.uid != 0:
        return Place(state_dir / "postgres", me)
    base = existing_base(state_dir)
    if base is None:
        account = system_account()
        return Place(_base_for_root(state_dir, account), account)
    if base.stat().st_uid != 0:
        owner = account_of(base.stat().st_uid).name
        raise StoreUnavailableError(
            f"the embedded database in {str(base)!r} belongs to user {owner!r} and does not run;"
            f" start it as that user, sudo -u {owner} pipespan status, or name another PIPESPAN_STATE_DIR"
        )
    return place_of(base)


def place_of(base: Path) -> Place:
    """Return the place of an existing data folder."""
    return Place(base, account_of((base / "data").stat().st_uid))


def make_base(place: Place, state_dir: Path) -> None:
    """Make the folder around the data, if missing, after a look at its file system.

    Raises:
        StoreUnavailableError: the file system is a network's.
    """
    refuse_network(place.base)
    if place.base.parent == state_dir:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        place.base.mkdir(mode=0o700)
    except FileExistsError:
        return
    if place.account.uid != os.geteuid():
        place.base.chmod(0o711)  # the server's user must pass through


def make_private_folder(folder: Path, account: Account) -> None:
    """Make a folder for the server's user alone; one that exists stays as it is."""
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        return
    if account.uid != os.geteuid():
        os.chown(folder, account.uid, account.gid, follow_symlinks=False)


def make_socket_folder(place: Place) -> None:
    """Make the private folder of the socket and clear what a dead server left there.

    Raises:
        StoreUnavailableError: something else has its name.
    """
    folder = place.socket_dir
    make_private_folder(folder, place.account)
    if not is_private_folder(folder, place.account.uid):
        raise StoreUnavailableError(
            f"{str(folder)!r} is not a private folder of user {place.account.name!r}; remove it,"
            " or choose a shorter PIPESPAN_STATE_DIR"
        )
    for name in (f".s.PGSQL.{PORT}", f".s.PGSQL.{PORT}.lock"):
        # the lock file names a pid that somebody else may have by now
        (folder / name).unlink(missing_ok=True)


def refuse_full_disk(folder: Path) -> None:
    """Raise StoreUnavailableError if there is no room for a new data folder."""
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < MIN_FREE_BYTES:
        raise StoreUnavailableError(
            f"only {free_bytes // 2**20} MB are free below {str(folder)!r}, the embedded database needs"
            f" {MIN_FREE_BYTES // 2**20} MB; free some, or name another folder by PIPESPAN_STATE_DIR"
        )


def refuse_network(folder: Path) -> None:
    """Raise StoreUnavailableError if the folder is, or would be, on a network file system."""
    kind = _mounted_network(folder)
    if kind is not None:
        raise StoreUnavailableError(
            f"{str(folder)!r} is on a network file system ({kind}), where a database is not safe;"
            " name a folder on a local disk by PIPESPAN_STATE_DIR, or a server by PIPESPAN_DSN"
        )


def network_file_system(folder: Path, mounts: str) -> str | None:
    """Return the type of the network file system below a folder, by the text of /proc/mounts, or None."""
    best, kind = -1, None
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 4:
            continue
        point = Path(_unescaped(fields[1]))
        if (point == folder or point in folder.parents) and len(point.parts) >= best:
            # of equal points the last one lies on top
            best, kind = len(point.parts), _network_kind(fields[2], fields[3])
    return kind


def make_system_folder() -> None:
    """Make root's folder of servers and programs.

    Raises:
        StoreUnavailableError: it is open to changes by others.
    """
    try:
        SYSTEM_FOLDER.mkdir(mode=0o755)
        SYSTEM_FOLDER.chmod(0o755)  # whatever the umask
    except FileExistsError:
        found = SYSTEM_FOLDER.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != 0 or found.st_mode & 0o022:
            raise StoreUnavailableError(
                f"{str(SYSTEM_FOLDER)!r} is not a folder that only root can change; mend its owner and mode"
            ) from None


def _mounted_network(folder: Path) -> str | None:
    try:
        mounts = Path("/proc/self/mounts").read_text("utf-8", "surrogateescape")
    except OSError:
        return None  # not Linux
    return network_file_system(folder, mounts)


def _base_for_root(state_dir: Path, account: Account) -> Path:
    near = state_dir / "postgres"
    nearest = near if near.exists() else state_dir
    # a state folder that is still to be made gets mode 0700
    is_usable = nearest.exists() and can_enter(nearest, account) and _is_roots(nearest)
    return near if is_usable and _mounted_network(nearest) is None else system_base(state_dir)


def _is_roots(folder: Path) -> bool:
    """Say whether nobody but root can swap the folder, or one above it, for something else."""
    for step in (folder, *folder.parents):
        found = step.stat()
        is_open = found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX
        if found.st_uid != 0 or is_open:
            return False
    return True


def _network_kind(kind: str, options: str) -> str | None:
    if kind in NETWORK_FILE_SYSTEMS:
        return kind
    # Windows drives in WSL; plain 9p is also the root of some sandboxes
    return "drvfs" if kind == "9p" and "drvfs" in options else None


def _unescaped(field: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        field = field.replace(code, character)
    return field
