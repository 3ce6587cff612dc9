from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import pipespan

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

PUBLIC = """
    Cancelled Client Health Logger Node __version__
    advance artifact cancel_requested child_env configure current event extract flush get_logger health inject logged
    metric on phase pipeline progress step substep track wrap
""".split()

ENTRY_POINTS = [
    EntryPoint(name, value, group)
    for group, points in {**PROJECT["entry-points"], "console_scripts": PROJECT["scripts"]}.items()
    for name, value in points.items()
]


def test_the_public_names_are_these():
    """A name is added to or taken from the interface on purpose only."""
    assert sorted(pipespan.__all__) == sorted(PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_each_public_name_is_there(name):
    """Names that are loaded on first use are found by `getattr` and told by `dir`."""
    assert getattr(pipespan, name) is not None
    assert name in dir(pipespan)


def test_an_unknown_name_is_an_attribute_error():
    """Loading on first use does not change how a wrong name fails."""
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = pipespan.no_such_name


@pytest.mark.parametrize("point", ENTRY_POINTS, ids=lambda point: f"{point.group}-{point.name}")
def test_each_entry_point_resolves(point):
    """What installers and OpenTelemetry are told to load can be loaded."""
    assert callable(point.load())
