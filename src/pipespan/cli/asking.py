"""What `stack` and `cancel` share: whom to ask, by which way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from pipespan.cli.options import Invocation
from pipespan.errors import NotFoundError, StoreError

if TYPE_CHECKING:
    from pipespan.wiring.asking import Target


def find_targets(invocation: Invocation, reference: str, *, is_local: bool) -> tuple[Sequence[Target], bool]:
    """Return the live processes of an experiment, and whether the database is there to ask through.

    Without an answer of the database those of this host are looked for in the spool.

    Raises:
        NotFoundError: nothing answers to the reference.
        StoreError: the database does not answer, and no process of this host is meant.
    """
    from pipespan.query.resolve import resolve  # noqa: PLC0415 - help and version need none
    from pipespan.wiring.asking import local_targets, targets_of  # noqa: PLC0415 - as above

    settings = invocation.settings()
    if is_local:
        return local_targets(settings, reference), False
    try:
        with invocation.open_source() as source:
            experiment = resolve(source, reference)
            return targets_of(settings, experiment, source.jobs(experiment.id)), True
    except StoreError as error:
        try:
            found = local_targets(settings, reference)
        except NotFoundError:
            raise error from None
        click.echo(f"pipespan: {error}; asking the processes of this host directly", err=True)
        return found, False


def local_option(function: click.decorators.FC) -> click.decorators.FC:
    """Add `--local`."""
    return click.option(
        "--local", "is_local", is_flag=True, help="Ask processes of this host only, without the database."
    )(function)
