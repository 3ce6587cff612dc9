"""Whole programs: no secret reaches spool, database, standard error or a list of processes; files are private."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from pipespan.errors import PipespanError
from pipespan.spool.private import FILE_MODE, FOLDER_MODE
from pipespan.store.postgres.connect import open_connection
from tests.wiring.programs import Programs

SECRET = "Sup3r/Secret#1"

LEAKY = """
    secret = os.environ["APP_PASSWORD"]
    token = "gh" + "p_" + "a1B2" * 9
    log = pipespan.get_logger("app", session=token)
    try:
        with pipespan.pipeline(f"run {secret}", params={"dsn": f"postgres://u:{secret}@h/d", "password": "pl4inValue"},
                               tags=[token]) as run:
            run.plan(f"later {token}")
            run.event(f"saw {secret}", api_key="abcDEF123", note=[token])
            run.artifact(f"https://u:pl4inValue@h/x?token={token}", digest=secret)
            run.metric(loss=0.1, **{secret: 1})
            run.set(password="pl4inValue", deep={"a": [secret]})
            with run.phase(f"phase {token}", unit=secret) as phase, phase.step("s", key=f"k {secret}") as step:
                step.progress(1, 2, f"at {secret}")
                step.message(f"Bearer {token}")
                log.info("with %s", secret, extra_field=secret)
                logging.getLogger(f"lib.{token}").warning("password=%s", "pl4inValue")
                local = secret
                raise RuntimeError("x" * 1995 + secret)
    except RuntimeError:
        pass
"""


def spool_bytes(programs: Programs) -> bytes:
    return b"".join(path.read_bytes() for path in programs.state_dir.rglob("*") if path.is_file())


def test_no_secret_reaches_the_spool(programs: Programs) -> None:
    """Names, parameters, events, metrics, logs, tracebacks, messages that are cut, the command: none shows one."""
    ran = programs.run(LEAKY, "--password", "sw0rdfish", f"--url=https://u:{SECRET}@h/", APP_PASSWORD=SECRET)
    kept = spool_bytes(programs)
    for secret in (SECRET, "Sup3r", "pl4inValue", "a1B2a1B2", "abcDEF123", "sw0rdfish"):
        assert secret.encode() not in kept, secret
        assert secret not in ran.err
    assert b"[redacted]" in kept
    seen = programs.delivered()
    assert seen.experiments[0].name == "run [redacted]"
    assert {node.node_name: node.status for node in seen.nodes.values()} == {
        "run [redacted]": "failed",
        "later [redacted]": "cancelled",
        "phase [redacted]": "failed",
        "s": "failed",
    }
    assert seen.nodes["run [redacted]"].metadata["deep"] == {"a": ["[redacted]"]}
    assert len(seen.logs()) >= 3


def test_redaction_can_be_extended_and_turned_off(programs: Programs) -> None:
    """`PIPESPAN_REDACT` hides what a program alone can know; `off` records everything."""
    source = """
        with pipespan.pipeline("p") as run:
            run.event("the blue moon", pin="12x4")
    """
    programs.run(source, PIPESPAN_REDACT="value:blue moon; key:pin")
    assert b"blue moon" not in spool_bytes(programs)
    assert b"12x4" not in spool_bytes(programs)
    programs.run(source, PIPESPAN_REDACT="off")
    assert b"blue moon" in spool_bytes(programs)


def test_locals_are_never_recorded(programs: Programs) -> None:
    """A traceback has lines of code and no values of variables."""
    programs.run(
        """
        try:
            with pipespan.pipeline("p"):
                harmless_looking = "".join(["plain", "value", "of", "a", "local"])
                raise ValueError("bad")
        except ValueError:
            pass
        """
    )
    assert b"plainvalueofalocal" not in spool_bytes(programs)


def test_the_state_folder_is_private_whatever_the_umask(connected: Programs) -> None:
    """After a whole run under umask 000, with a command and a killed process: folders 0700, files 0600."""
    environ = {
        **os.environ,
        "PIPESPAN_STATE_DIR": str(connected.state_dir),
        **connected.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    subprocess.run(
        [
            sys.executable,
            "-c",
            "import os, sys; os.umask(0); from pipespan.cli.app import main; sys.exit(main())",
            "run",
            "--",
            "echo",
            "hello",
        ],
        env=environ,
        check=True,
        capture_output=True,
        timeout=60,
    )
    connected.run(
        """
        os.umask(0)
        with pipespan.pipeline("p") as run:
            logging.getLogger("app").warning("hello")
        with pipespan.pipeline("killed"):
            os.kill(os.getpid(), signal.SIGKILL)
        """,
        code=-9,
    )
    found = [connected.state_dir, *connected.state_dir.rglob("*")]
    assert any(path.is_file() for path in found)
    for path in found:
        mode = stat.S_IMODE(path.lstat().st_mode)
        assert mode == (FOLDER_MODE if path.is_dir() else FILE_MODE) or path.is_socket(), path


def test_a_password_stands_in_no_list_of_processes(connected: Programs, dsn: str) -> None:
    """What a program starts carries no DSN in its arguments, nor does the program itself."""
    child = connected.start(
        """
        with pipespan.pipeline("p"):
            pipespan.flush(10)
            print("ready", flush=True)
            sys.stdin.readline()
        """,
        PIPESPAN_DSN=with_password(dsn),
    )
    assert child.stdout is not None
    assert child.stdin is not None
    child.stdout.readline()
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = place.read_bytes()
        except OSError:
            continue
        assert b"hunter2xyz" not in words
    child.stdin.write("\n")
    child.stdin.flush()
    assert child.wait(40) == 0


def with_password(dsn: str) -> str:
    return (
        f"{dsn} password=hunter2xyz"
        if "://" not in dsn
        else f"{dsn}{'&' if '?' in dsn else '?'}password=hunter2xyz"
    )


WRONG = [
    "postgresql://bob:hunter2xyz@127.0.0.1:1/db",
    "host=127.0.0.1 port=1 password=hunter2xyz",
    "postgresql://bob:hunter2xyz@127.0.0.1:notaport/db",
    "host=127.0.0.1 port=1 password=hunter2xyz nonsense",
    "postgresql://bob:hunter2xyz@h:1/db?nonsense=1",
    "password=hunter2xyz password",
    "postgresql://bob:hunter2xyz@[/db",
    "postgres://bob:hunter2xyz%ZZ@127.0.0.1:1/d",
    "host=127.0.0.1 port=1 password='hunter2xyz",
]


@pytest.mark.parametrize("wrong", WRONG)
def test_no_error_shows_a_password(wrong: str, tmp_path: Path) -> None:
    """Whatever is wrong with an address: no command shows the password in what it says of it."""
    environ = {**os.environ, "PIPESPAN_DSN": wrong, "PIPESPAN_STATE_DIR": str(tmp_path / "s")}
    environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    for arguments in (["list"], ["db", "url"], ["ship"]):
        done = subprocess.run(
            [sys.executable, "-m", "pipespan", *arguments],
            env=environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "hunter2xyz" not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr


def test_the_error_of_a_wrong_address_holds_no_password() -> None:
    """Nor does the exception itself, with its causes."""
    for wrong in WRONG[:5]:
        with pytest.raises(PipespanError) as caught:
            open_connection(wrong)
        assert "hunter2xyz" not in str(caught.value)
