from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src" / "pipespan"
ROOMS_WITH_SDK = {"otel", "wiring", "testing"}
# The demo uses the package as a person would.
ROOMS_WITH_ROOT = {"cli"}
SDK = ("opentelemetry.sdk", "opentelemetry.exporter")
HEAVY = "psycopg rich click grpc google.protobuf requests opentelemetry.sdk opentelemetry.exporter".split()


def _loaded_by(code):
    program = f"import json, sys\n{code}\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def _heavy(modules):
    return [name for name in modules if any(name == heavy or name.startswith(f"{heavy}.") for heavy in HEAVY)]


def test_importing_the_package_loads_nothing_heavy():
    """A program that imports pipespan and never uses it pays next to nothing."""
    modules = _loaded_by("import pipespan")
    assert "pipespan" in modules
    assert _heavy(modules) == []


def test_telling_the_version_loads_nothing_heavy():
    """`pipespan --version` answers without the driver, the SDK or what draws."""
    code = (
        "sys.argv = ['pipespan', '--version']\n"
        "from pipespan.__main__ import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code"
    )
    loaded = [name for name in _heavy(_loaded_by(code)) if name.split(".")[0] != "click"]
    assert loaded == []


def _imports(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield from ((node.module, alias.name) for alias in node.names)


def _room(path):
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


MODULES = sorted(SOURCE.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_the_sdk_stays_in_its_rooms(path):
    """Nodes and rows work without the SDK: only the bridge to it and the composition root import it."""
    if _room(path) in ROOMS_WITH_SDK:
        return
    sdk = [name for name, _ in _imports(path) if name.startswith(SDK)]
    assert sdk == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_nothing_inside_imports_the_root(path):
    """The package root stands above all rooms; an import of it from below would be a cycle."""
    if _room(path) in ROOMS_WITH_ROOT:
        return
    rooms = {one.stem if one.is_file() else one.name for one in SOURCE.iterdir()}
    assert [name for name, part in _imports(path) if name == "pipespan" and part not in rooms] == []
