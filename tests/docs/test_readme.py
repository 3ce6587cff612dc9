from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.docs.pages import ROOT, examples

_README = ROOT / "README.md"


def _command(name):
    done = subprocess.run(
        [sys.executable, str(ROOT / ".ci" / "readme_command.py"), name],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.mark.parametrize("name", ["demo", "test"])
def test_the_set_up_is_one_line_that_needs_no_other_first(name):
    """Both commands make their own environment, so that either works on a fresh clone."""
    command = _command(name)
    assert "\n" not in command
    assert command.startswith("python3 -m venv .venv && .venv/bin/pip install ")


def test_the_first_command_runs_the_demo():
    """What a newcomer copies ends with the main job."""
    assert _command("demo").endswith("&& .venv/bin/pipespan demo")


def test_an_unknown_command_of_the_readme_is_refused():
    """The script that reads the README fails instead of printing nothing."""
    script = ROOT / ".ci" / "readme_command.py"
    done = subprocess.run(
        [sys.executable, str(script), "no-such"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")


def test_the_checks_end_with_the_command_of_the_readme():
    """`.ci/run` takes its last command from the README, so the two cannot differ."""
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert lines[-1] == 'bash -c "$command"'
    assert any("readme_command.py test" in line for line in lines)


def test_the_example_has_ten_lines():
    """The example stays as short as promised: ten lines of code after the import."""
    (example,) = examples(_README)
    code = [line for line in example.splitlines() if line.strip()]
    assert code[0] == "import pipespan"
    assert len(code) <= 11


def test_each_command_of_the_table_is_in_the_reference():
    """The README lists no command that the program does not have."""
    listed = set(re.findall(r"^\| `pipespan ([a-z]+)", _README.read_text(encoding="utf-8"), re.MULTILINE))
    reference = (ROOT / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")
    known = set(re.findall(r"^## pipespan ([a-z]+)$", reference, re.MULTILINE))
    assert listed
    assert listed <= known
