from __future__ import annotations

import subprocess
import sys

import pytest

from pipespan._version import __version__
from pipespan.cli.app import COMMANDS, main
from pipespan.cli.options import Invocation
from pipespan.errors import SchemaError, SettingsError, StoreUnavailableError
from pipespan.model.records import ExperimentRecord
from tests.cli.runner import Cli, sample_source
from tests.query.samples import ListSource, experiment, log

HEAVY = (
    "rich",
    "psycopg",
    "opentelemetry",
    "psutil",
    "pipespan.wiring",
    "pipespan.cli.status",
    "pipespan.store",
)

LOADED = """
import sys
from pipespan.cli.app import main
code = main(sys.argv[1:])
heavy = [name for name in {heavy!r} if name in sys.modules]
print("loaded:", heavy, file=sys.stderr)
sys.exit(code)
"""


def python(*args: str, **changes: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *args], capture_output=True, text=True, timeout=30, check=False, **changes
    )  # type: ignore[call-overload]


@pytest.mark.parametrize("args", [("--version",), ("--help",), ("-h",), ("nonsense",)])
def test_asking_what_there_is_loads_nothing_heavy(args: tuple[str, ...]) -> None:
    """Version, help and typos are answered without the libraries that commands need."""
    done = python("-c", LOADED.format(heavy=HEAVY), *args)
    assert "loaded: []" in done.stderr, done.stderr


def test_version() -> None:
    """`pipespan --version` names program and version."""
    done = python("-m", "pipespan", "--version")
    assert (done.returncode, done.stdout) == (0, f"pipespan {__version__}\n")


def test_help_lists_every_command(cli: Cli) -> None:
    """The overview has a line for each command."""
    result = cli(sample_source(), "--help")
    assert result.code == 0
    assert all(f"\n  {name} " in result.out for name in COMMANDS)


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in {"run", "demo"}])
def test_every_command_has_help(cli: Cli, name: str) -> None:
    """The short help of the overview belongs to a command that exists and explains itself."""
    result = cli(sample_source(), name, "--help")
    assert result.code == 0
    assert "--dsn" in result.out
    assert "PIPESPAN_DSN" in result.out


@pytest.mark.parametrize(
    "args",
    [
        ("nonsense",),
        ("status", "--nonsense"),
        ("logs", "--limit", "0"),
        ("logs", "--level", "LOUD"),
        ("list", "x"),
    ],
)
def test_wrong_usage_is_2(cli: Cli, args: tuple[str, ...]) -> None:
    """What click refuses has its exit code too, and a reason on stderr."""
    result = cli(sample_source(), *args)
    assert result.code == 2
    assert result.out == ""
    assert result.err


@pytest.mark.parametrize(
    ("typed", "meant"), [("lst", "list"), ("DEMO", "demo"), ("stats", "status"), ("xyz", None)]
)
def test_typos_are_told_what_may_be_meant(cli: Cli, typed: str, meant: str | None) -> None:
    """A name that nearly is a command, or is one in other letters, gets it suggested."""
    result = cli(sample_source(), typed)
    assert result.code == 2
    assert f"No such command '{typed}'." in result.err
    assert ("Did you mean" in result.err) == (meant is not None)
    assert meant is None or f"Did you mean '{meant}'?" in result.err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StoreUnavailableError("cannot reach it;\ncheck\x1b PIPESPAN_DSN"), 1),
        (SchemaError("no schema in it; run `pipespan db migrate`"), 1),
        (SettingsError("cannot understand 'x'"), 2),
    ],
)
def test_domain_errors_are_one_line(cli: Cli, error: Exception, code: int) -> None:
    """Errors of the store give 1, of settings 2, each one harmless line on stderr."""

    class Failing(ListSource):
        def experiments(self, *, limit: int) -> list[ExperimentRecord]:
            raise error

    result = cli(Failing(), "list")
    assert result.code == code
    assert result.err.startswith("pipespan: ")
    assert len(result.err.splitlines()) == 1
    assert "\x1b" not in result.err


def test_options_reach_the_settings_from_either_place(capsys: pytest.CaptureFixture[str]) -> None:
    """`--dsn` may stand before or after the command; the one after wins."""
    given: list[tuple[str | None, str | None]] = []

    class Spying:
        def load_settings(self, *, dsn, state_dir):
            given.append((dsn, state_dir and str(state_dir)))
            raise SettingsError("seen")

    invocation = Invocation(services=Spying())  # type: ignore[arg-type]  # the rest is not asked for
    for args in (["--dsn", "a", "list"], ["list", "--dsn", "b"], ["--dsn", "a", "list", "--dsn", "b"]):
        assert main([*args, "--state-dir", "s"], invocation) == 2
    assert given == [("a", "s"), ("b", "s"), ("b", "s")]
    capsys.readouterr()


SCRIPT = """
import sys
from tests.query.samples import *
from pipespan.cli.app import main
from pipespan.cli.options import Invocation
source = ListSource([experiment(name="tr\\u00e4in \\u65e5")], [job()],
    [node("tr\\u00e4in", total_units=4, completed_units=1)], [log(number, "line " * 20) for number in range(1, 20001)])
sys.exit(main(sys.argv[1:], Invocation(source=source, now=lambda: NOW)))
"""


@pytest.mark.parametrize("args", [("logs", "--limit", "20000"), ("logs", "--limit", "20000", "--json")])
def test_a_reader_that_leaves_is_no_drama(args: tuple[str, ...]) -> None:
    """`pipespan logs | head -1` prints its line and nothing on stderr."""
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=20) in {0, 1}


def test_ascii_terminals_get_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the encoding knows nothing else, trees, bars and names are drawn in ASCII."""
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    monkeypatch.setenv("COLUMNS", "80")
    done = python("-c", SCRIPT, "status")
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()
    assert "#" in done.stdout
    assert "tr\\xe4in" in done.stdout
    done = python("-c", SCRIPT, "status", "--json")
    assert done.stdout.isascii()
    assert "\\u65e5" in done.stdout


def test_no_colour_over_a_pipe_even_for_a_colour_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe gets text, whatever TERM says."""
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    for args in (("status",), ("list",), ("logs",), ("errors",)):
        assert "\x1b" not in python("-c", SCRIPT, *args).stdout


def test_unended_source_is_left_open(cli: Cli) -> None:
    """A source that was put in is its owner's to close."""
    source = ListSource([experiment()], all_logs=[log(1)])
    assert cli(source, "list").code == 0
    assert cli(source, "list").code == 0
