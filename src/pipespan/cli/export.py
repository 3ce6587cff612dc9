"""`pipespan export`: one experiment as one JSON document."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import IO

import click

from pipespan.cli.options import current, experiment_argument, store_options
from pipespan.errors import UsageError
from pipespan.query.exporting import write_document
from pipespan.query.resolve import resolve


@click.command("export")
@experiment_argument
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write to this file instead of standard output; it appears when it is whole.",
)
@store_options
@click.pass_context
def command(ctx: click.Context, *, experiment: str, output: Path | None) -> None:
    """Write an experiment with all its nodes, logs, events and metrics as one JSON document.

    `pipespan import` reads it into another database.
    """
    invocation = current(ctx)
    with invocation.open_source() as source:
        found = resolve(source, experiment)
        with _whole_file(output) if output is not None else contextlib.nullcontext(sys.stdout) as stream:
            write_document(source, found.id, stream.write)


@contextlib.contextmanager
def _whole_file(path: Path) -> Generator[IO[str], None, None]:
    """Give a file that takes the place of `path` when all is written; else nothing is left of it."""
    if path.exists() and not path.is_file():  # a pipe or a device takes what comes
        with path.open("w", encoding="utf-8") as stream:
            yield stream
        return
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise UsageError(f"cannot write to {str(path)!r}: {error.strerror}; choose another file") from error
    part = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            yield stream
        part.replace(path)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise UsageError(
                f"cannot write to {str(path)!r}: {error.strerror}; choose another file"
            ) from error
        raise
