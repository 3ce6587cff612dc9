from __future__ import annotations

import configparser
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow


def _build(out, *targets):
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), *targets, str(ROOT)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture(scope="module")
def from_sdist(tmp_path_factory):
    """A folder with the sdist, and the wheel made from it."""
    return _build(tmp_path_factory.mktemp("from-sdist"))


@pytest.fixture(scope="module")
def from_tree(tmp_path_factory):
    """A folder with the wheel made from the tree itself."""
    return _build(tmp_path_factory.mktemp("from-tree"), "--wheel")


def _wheel_files(folder):
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_sql_is_found_in_a_wheel_that_is_not_unpacked(from_tree):
    """As in a zipped application: the files are read where they are."""
    (wheel,) = from_tree.glob("*.whl")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pipespan.store import sqlfiles; "
        "assert sys.argv[1] in sqlfiles.__file__; print(len(sqlfiles.open_sql().migrations()))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, str(wheel)], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert int(done.stdout) == len(list((ROOT / "sql/migrations").glob("*.sql")))


def _below(files, prefix):
    return {
        PurePosixPath(name).relative_to(prefix).as_posix(): content
        for name, content in files.items()
        if name.startswith(f"{prefix}/")
    }


def _on_disk(folder, pattern="*"):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob(pattern)
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_from_the_sdist_carries_every_sql_file(from_sdist):
    """What is installed from a published source has all of `sql/`, byte for byte."""
    expected = _on_disk(ROOT / "sql")
    assert expected
    assert _below(_wheel_files(from_sdist), "pipespan/_sql") == expected


def test_the_wheel_from_the_tree_carries_every_sql_file(from_tree):
    """What is installed from a checkout has all of `sql/`, byte for byte."""
    assert _below(_wheel_files(from_tree), "pipespan/_sql") == _on_disk(ROOT / "sql")


def test_the_sdist_carries_what_the_checks_need(from_sdist):
    """Sources, SQL, tests, documentation and the checks themselves travel together."""
    (sdist,) = from_sdist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {f"sql/{name}" for name in _on_disk(ROOT / "sql")} <= names
    assert {f"src/{name}" for name in _on_disk(ROOT / "src", "*.py")} <= names
    assert {"pyproject.toml", "LICENSE", "README.md", "CHANGELOG.md", ".ci/run", "docs/index.md"} <= names
    assert any(name.startswith("tests/") for name in names)


def test_the_wheel_carries_the_package_and_nothing_else(from_sdist):
    """All modules, the marker for type checkers, and the metadata; no tests, no stray folders."""
    files = _wheel_files(from_sdist)
    package = _on_disk(ROOT / "src" / "pipespan", "*.py")
    assert set(package) <= set(_below(files, "pipespan"))
    assert "pipespan/py.typed" in files
    tops = {name.split("/", 1)[0] for name in files}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"pipespan"}


def test_the_wheel_is_licensed_and_registered(from_sdist):
    """The metadata has the licence's name and text, the command, and the exporters for OpenTelemetry."""
    files = {name.partition(".dist-info/")[2]: content for name, content in _wheel_files(from_sdist).items()}
    assert "License-Expression: Apache-2.0" in files["METADATA"].decode().splitlines()
    assert b"Apache License" in files["licenses/LICENSE"]
    points = configparser.ConfigParser()
    points.read_string(files["entry_points.txt"].decode())
    assert points["console_scripts"]["pipespan"] == "pipespan.__main__:main"
    for signal in ("traces", "metrics", "logs"):
        assert "pipespan" in points[f"opentelemetry_{signal}_exporter"]
