"""`pipespan watch`: the tree live on a terminal, a line for each change over a pipe, until the experiment ends."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol

import click
from rich.console import Console
from rich.live import Live
from rich.text import Text

from pipespan.cli.options import Invocation, current, experiment_argument, json_option, store_options
from pipespan.cli.output import is_ascii_only, is_live, open_console, print_json, print_text
from pipespan.cli.render.fold import MAX_LINES
from pipespan.cli.render.line import change_key, render_line
from pipespan.cli.render.text import clock, duration, one_line
from pipespan.cli.render.tree import render_status
from pipespan.errors import NotFoundError, StoreUnavailableError
from pipespan.query.ending import DeathWatch
from pipespan.query.status import StatusView, status, status_again
from pipespan.query.statusdocument import status_document
from pipespan.store.base import Source

SETTLE_S: Final = 0.3
"""After the outcome has arrived, its last rows may be one batch behind."""

MAX_INTERVAL_S: Final = 10.0
"""However long a look takes, the next one comes after this."""

HEADER_LINES: Final = 8
"""Lines that a live display needs beside the tree."""

EXIT_DEAD: Final = 1


@dataclass(frozen=True, slots=True)
class Pacing:
    """When to look again, and when to give up.

    Attributes:
        interval_s: seconds between two looks.
        appear_s: so long an experiment that nobody knows yet is waited for.
        is_cancelled: asked before every look; True ends the watch.
        invocation: the clocks.
    """

    interval_s: float = 1.0
    appear_s: float = 0.0
    is_cancelled: Callable[[], bool] = lambda: False
    invocation: Invocation = field(default_factory=Invocation)


@click.command("watch")
@experiment_argument
@click.option(
    "--interval",
    type=click.FloatRange(min=0.05),
    default=1.0,
    show_default=True,
    help="Seconds between two looks.",
)
@json_option
@store_options
@click.pass_context
def command(ctx: click.Context, *, experiment: str, interval: float, as_json: bool) -> int:
    """Show the tree of an experiment live until it ends; Ctrl-C leaves the experiment alone.

    Over a pipe each change is one line, and the tree comes at the end. With --json each change is one
    object, as `status --json` prints it. The exit code is 1 when the experiment is dead for good: at once when it
    was dead before, else when nobody has started it anew for 10 seconds.
    """
    invocation = current(ctx)
    console = open_console()
    pacing = Pacing(interval, invocation=invocation)
    with invocation.open_source() as source:
        if as_json:
            view = _follow(source, experiment, pacing, _JsonDisplay(console))
        else:
            view = watch_until_end(source, experiment, console, pacing)
    if view is None or view.is_over:
        return 0
    click.echo(f"dead: {one_line(view.health.reason)}", err=True)
    return EXIT_DEAD


def watch_until_end(
    source: Source, reference: str, console: Console, pacing: Pacing | None = None
) -> StatusView | None:
    """Show the experiment on `console` until it ends or is dead for good, print the final tree, return the last view.

    An outage of the database is told and waited out, except at the very first look. None is returned only
    when the watch was cancelled before the first one.

    Raises:
        NotFoundError: nothing answers to `reference`, also not within `pacing.appear_s`.
        AmbiguousError: several experiments do.
        StoreError: the store does not answer at the first look.
    """
    pacing = pacing or Pacing()
    view = _follow(
        source, reference, pacing, _LiveDisplay(console) if is_live(console) else _LineDisplay(console)
    )
    if view is not None:
        console.print(render_status(view, console.width, is_ascii_only(console)))
    return view


def _follow(source: Source, reference: str, pacing: Pacing, display: _Display) -> StatusView | None:
    view: StatusView | None = None
    with display.shown():
        for view in _views(source, reference, pacing, display):
            display.show(view)
    return view


def _views(source: Source, reference: str, pacing: Pacing, display: _Display) -> Iterator[StatusView]:
    """Yield views of one and the same experiment until it is over."""
    looked_s = pacing.invocation.clock()
    view = _first_view(source, reference, pacing)
    deaths = DeathWatch()
    while view is not None:
        yield view
        if view.is_over:
            break
        now_s = pacing.invocation.clock()
        if deaths.is_hopeless(view.health, now_s):
            return
        # A huge tree takes longer to read than the interval: look at it half of the time at most.
        pacing.invocation.sleep(max(pacing.interval_s, min(now_s - looked_s, MAX_INTERVAL_S)))
        if pacing.is_cancelled():
            return
        looked_s = pacing.invocation.clock()
        view = _next_view(source, view, pacing, display)
    if view is not None:
        pacing.invocation.sleep(SETTLE_S)
        with contextlib.suppress(StoreUnavailableError):
            yield status_again(source, view, pacing.invocation.now())


def _first_view(source: Source, reference: str, pacing: Pacing) -> StatusView | None:
    invocation = pacing.invocation
    until_s = invocation.clock() + pacing.appear_s
    while not pacing.is_cancelled():
        try:
            return status(source, reference, invocation.now())
        except NotFoundError:
            if invocation.clock() >= until_s:
                raise
        invocation.sleep(min(pacing.interval_s, 0.1))
    return None


def _next_view(source: Source, view: StatusView, pacing: Pacing, display: _Display) -> StatusView | None:
    """Return a newer view, waiting out an outage; None when cancelled meanwhile."""
    invocation = pacing.invocation
    out_since = None
    while not pacing.is_cancelled():
        try:
            return status_again(source, view, invocation.now())
        except StoreUnavailableError as error:
            out_since = out_since or invocation.now()
            display.show_outage(view, error, out_since, invocation.now())
        invocation.sleep(pacing.interval_s)
    return None


class _Display(Protocol):
    """Where views go while the experiment runs."""

    def shown(self) -> contextlib.AbstractContextManager[object]:
        """Hold what the display needs."""

    def show(self, view: StatusView) -> None:
        """Show a new view."""

    def show_outage(self, view: StatusView, error: Exception, since: datetime, now: datetime) -> None:
        """Show that there is nothing newer than `view`, and why."""


class _LiveDisplay:
    """Draws the tree over the one before."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=True, vertical_overflow="crop")

    def shown(self) -> contextlib.AbstractContextManager[object]:
        return self._live

    def show(self, view: StatusView) -> None:
        self._live.update(self._tree(view), refresh=True)

    def show_outage(self, view: StatusView, error: Exception, since: datetime, now: datetime) -> None:
        waited = duration((now - since).total_seconds())
        line = Text(f"{one_line(str(error))}; trying again for {waited}", style="yellow", overflow="ellipsis")
        line.truncate(self._console.width, overflow="ellipsis")
        self._live.update(Text("\n").join([self._tree(view), line]), refresh=True)

    def _tree(self, view: StatusView) -> Text:
        room = max(3, min(MAX_LINES, self._console.height - HEADER_LINES))
        return render_status(view, self._console.width, is_ascii_only(self._console), max_lines=room)


class _LineDisplay:
    """Prints one line whenever something worth a line has changed."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._told: object = None
        self._is_out = False

    def shown(self) -> contextlib.AbstractContextManager[object]:
        return contextlib.nullcontext()

    def show(self, view: StatusView) -> None:
        self._is_out = False
        key = change_key(view)
        if key != self._told:
            self._told = key
            print_text(self._console, render_line(view, is_ascii_only(self._console)))
            self._console.file.flush()

    def show_outage(self, view: StatusView, error: Exception, since: datetime, now: datetime) -> None:
        if not self._is_out:
            self._is_out = True
            self._told = None
            print_text(self._console, Text(f"{clock(since)}  {one_line(str(error))}; trying again"))
            self._console.file.flush()


class _JsonDisplay:
    """Prints a whole document whenever something worth a line has changed."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._told: object = None

    def shown(self) -> contextlib.AbstractContextManager[object]:
        return contextlib.nullcontext()

    def show(self, view: StatusView) -> None:
        key = change_key(view)
        if key != self._told:
            self._told = key
            print_json(self._console, status_document(view))

    def show_outage(self, view: StatusView, error: Exception, since: datetime, now: datetime) -> None:
        if self._told is not None:
            self._told = None
            click.echo(f"pipespan: {one_line(str(error))}; trying again", err=True)
