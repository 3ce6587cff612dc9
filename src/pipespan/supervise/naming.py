"""What a command is called when nobody gives it a name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Final

_RUNNERS: Final = ("uv", "poetry", "pdm", "pipenv")
"""Tools with a `run` of their own, behind which the command proper stands."""


@dataclass(frozen=True, slots=True)
class _Interpreter:
    """A program whose own name says nothing of what runs, and its options as regular expressions.

    Attributes:
        name: of the program.
        text: options after which the program is an argument, so that there is no name to be had.
        value: options that take the next word.
        module: options after which a module's name stands.
    """

    name: str
    text: str
    value: str
    module: str = r"(?!)"


_INTERPRETERS: Final = (
    _Interpreter(r"(python|pypy)[\d.]*w?", r"-[a-zA-Z]*c", r"-[WX]|--check-hash-based-pycs", r"-[a-zA-Z]*m"),
    _Interpreter(r"(ba|da|k|z)?sh", r"-[a-zA-Z]*[cs]", r"[-+][a-zA-Z]*[oO]|--rcfile|--init-file"),
    _Interpreter(r"node|nodejs", r"-[ep]|-pe|--eval|--print", r"-[rC]|--(require|import|loader|conditions)"),
    _Interpreter(r"perl[\d.]*", r"-[a-zA-Z]*[eE]", r"-I"),
    _Interpreter(r"ruby[\d.]*", r"-[a-zA-Z]*e", r"-[IrCE]"),
)


def command_name(argv: Sequence[str]) -> str:
    """Return the command's base name; for an interpreter that of the script or module that it runs, if any."""
    name = PurePath(argv[0]).name.removesuffix(".exe")
    # Options of a runner's own are too many to know: a word behind one may be its value.
    if name in _RUNNERS and len(argv) > 2 and argv[1] == "run" and not argv[2].startswith("-"):
        return _stem(argv[2]) or name if argv[2].endswith(".py") else command_name(argv[2:])
    for interpreter in _INTERPRETERS:
        if re.fullmatch(interpreter.name, name):
            return _script(argv[1:], interpreter) or name
    return name or argv[0]


def _script(words: Sequence[str], interpreter: _Interpreter) -> str | None:
    rest = iter(words)
    for word in rest:
        if word == "-" or re.fullmatch(interpreter.text, word):
            return None
        if re.fullmatch(interpreter.module, word):
            return next(rest, "").rpartition(".")[2] or None
        if word == "--":
            return _stem(next(rest, ""))
        if re.fullmatch(interpreter.value, word):
            next(rest, None)
        elif not word.startswith(("-", "+")):
            return _stem(word)
    return None


def _stem(script: str) -> str | None:
    path = PurePath(script)
    # A folder is run by its `__main__`, and has the name.
    return (path.parent.name if path.stem == "__main__" else path.stem) or None
