"""Python source files: where they are, and what the syntax tree of one tells."""

from __future__ import annotations

import ast
import os
import sysconfig
import time
import tokenize
import warnings
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

WORST_PER_MODULE: Final = 5
"""Of each module so many functions are remembered by name; of the others only the figure."""

_INSTALLED: Final = frozenset({"site-packages", "dist-packages"})
_SCOPES: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_IMPORTS: Final = (ast.Import, ast.ImportFrom)
_BRANCHES: Final = (
    ast.If, ast.For, ast.AsyncFor, ast.While, ast.IfExp, ast.ExceptHandler, ast.match_case, ast.BoolOp,
    ast.comprehension,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Root:
    """A folder of sources, such as the standard library."""

    name: str
    path: Path


@dataclass(frozen=True, slots=True)
class Source:
    """A source file, from the outside."""

    path: str
    package: str
    module: str
    size_bytes: int
    encoding: str


@dataclass(frozen=True, slots=True)
class Function:
    """A function worth naming."""

    name: str
    path: str
    line: int
    complexity: int


@dataclass(frozen=True, slots=True)
class Module:
    """What the syntax tree of a file tells.

    Attributes:
        complexities: of all functions, in order of their place.
        worst: the most complex functions.
        imports: absolute names of what is imported.
        warning_count: how many warnings the compiler had.
        seconds: how long reading and parsing took.
    """

    source: Source
    lines: int
    complexities: array[int]
    worst: tuple[Function, ...]
    imports: tuple[str, ...]
    warning_count: int
    seconds: float


def find_roots() -> list[Root]:
    """Return the standard library and the folders of installed packages."""
    paths = sysconfig.get_paths()
    roots = [Root("standard library", Path(paths["stdlib"]))]
    for key in ("purelib", "platlib"):
        path = Path(paths[key])
        if path.is_dir() and all(not path.samefile(root.path) for root in roots):
            roots.append(
                Root("installed packages" if key == "purelib" else "installed platform packages", path)
            )
    return roots


def walk_sources(root: Root) -> Iterator[str]:
    """Yield the Python files below a root, in a stable order."""
    for folder, subfolders, files in os.walk(root.path):
        subfolders[:] = sorted(
            name for name in subfolders if name != "__pycache__" and name not in _INSTALLED
        )
        for name in sorted(files):
            if name.endswith(".py"):
                yield os.path.join(folder, name)  # noqa: PTH118 - thousands of them, and os.walk speaks text


def look_at(path: str, root: Root) -> Source:
    """Return size, encoding and place of a file.

    Raises:
        SyntaxError: the encoding that it declares is unknown or wrong.
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:  # noqa: PTH123 - see above
        encoding, _ = tokenize.detect_encoding(file.readline)
        size_bytes = os.fstat(file.fileno()).st_size
    parts = Path(path).relative_to(root.path).with_suffix("").parts
    module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    package = parts[0] if len(parts) > 1 else f"modules of the {root.name}"
    return Source(path, package, module, size_bytes, encoding)


def parse_source(source: Source) -> Module:
    """Parse a file.

    Raises:
        SyntaxError: it is not valid Python.
        ValueError: it holds null bytes, or bytes that its encoding does not know.
        RecursionError: it is nested too deeply.
        OSError: it cannot be read.
    """
    started = time.perf_counter()
    text = Path(source.path).read_text(encoding=source.encoding)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        tree = ast.parse(text, filename=source.path)
    functions, imported = _walk(tree, source)
    return Module(
        source=source,
        lines=text.count("\n"),
        complexities=array("L", (function.complexity for function in functions)),
        worst=tuple(sorted(functions, key=lambda function: -function.complexity)[:WORST_PER_MODULE]),
        imports=tuple(sorted(imported)),
        warning_count=len(warned),
        seconds=time.perf_counter() - started,
    )


def _walk(tree: ast.AST, source: Source) -> tuple[list[Function], set[str]]:
    """Return all functions with their cyclomatic complexity, nested ones for themselves, and what is imported."""
    names: list[tuple[str, int]] = []
    branches: list[int] = []
    imported: set[str] = set()
    stack: list[tuple[ast.AST, str, int]] = [(tree, "", -1)]
    while stack:
        node, prefix, owner = stack.pop()
        if isinstance(node, _SCOPES):
            prefix = f"{prefix}.{node.name}" if prefix else node.name
            if not isinstance(node, ast.ClassDef):
                owner = len(names)
                names.append((prefix, node.lineno))
                branches.append(1)
        elif isinstance(node, _IMPORTS):
            imported.update(_imported_by(node, source))
        elif owner >= 0 and isinstance(node, _BRANCHES):
            branches[owner] += _branches_of(node)
        stack.extend((child, prefix, owner) for child in ast.iter_child_nodes(node))
    functions = [
        Function(name, source.path, line, count) for (name, line), count in zip(names, branches, strict=True)
    ]
    return functions, imported


def _branches_of(node: ast.AST) -> int:
    if isinstance(node, ast.BoolOp):
        return len(node.values) - 1
    return 1 + len(node.ifs) if isinstance(node, ast.comprehension) else 1


def _imported_by(node: ast.Import | ast.ImportFrom, source: Source) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    package = source.module.split(".")
    if not source.path.endswith("__init__.py"):
        package.pop()
    base = package[: len(package) - node.level + 1] if node.level else []
    stem = ".".join([*base, *([node.module] if node.module else [])])
    return [f"{stem}.{alias.name}" if stem else alias.name for alias in node.names]
