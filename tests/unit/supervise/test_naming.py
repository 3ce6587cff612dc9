"""Default names of commands."""

from __future__ import annotations

import pytest

from pipespan.supervise.naming import command_name


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("rsync -a x y", "rsync"),
        ("/usr/bin/make all", "make"),
        ("./train.sh now", "train.sh"),
        ("python a.py", "a"),
        ("/opt/py/bin/python3.11 -u -X dev src/train.py --python x.py", "train"),
        ("python -m pytest tests", "pytest"),
        ("python -Om package.tool", "tool"),
        ("python -u -m package.tool", "tool"),
        ("python package/__main__.py", "package"),
        ("python -c pass a.py", "python"),
        ("python - a.py", "python"),
        ("python", "python"),
        ("python3 -m", "python3"),
        ("bash -eu job.sh", "job"),
        ("bash -euo pipefail job.sh", "job"),
        ("bash -e job.sh", "job"),
        ("bash -lc make", "bash"),
        ("sh -c make", "sh"),
        ("node --require x.js server.js", "server"),
        ("node -e 1", "node"),
        ("perl -I lib tidy.pl", "tidy"),
        ("ruby -rset rake.rb", "rake"),
        ("uv run src/train.py", "train"),
        ("uv run python -m app.train", "train"),
        ("uv run --with x python a.py", "uv"),
        ("poetry run python a.py", "a"),
        ("poetry run pytest", "pytest"),
        ("uv sync", "uv"),
        ("shfmt a.sh", "shfmt"),
    ],
)
def test_the_name_of_a_command(command, name):
    """Interpreters are called like what they run; where that is not sure, by their own name."""
    assert command_name(command.split()) == name
