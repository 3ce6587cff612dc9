"""`pipespan cancel`: ask an experiment to stop; first in words, then by signals."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import click

from pipespan.cli.asking import find_targets, local_option
from pipespan.cli.options import Invocation, current, experiment_argument, store_options
from pipespan.cli.render.text import plural

if TYPE_CHECKING:
    from pipespan.wiring.asking import Inquiry, Target

EXIT_GOES_ON: Final = 1
"""It has not ended within the time, or there is nothing to end."""

TERM_AFTER_S: Final = 10.0
"""A program gets so long to hear a request before it hears a signal."""

GRACE_S: Final = 10.0
"""So long after the last signal its effect is waited for."""

HEARD_S: Final = 3.0
"""A process that has not said within this that it heard the request will not: time counts without it."""

LOOK_S: Final = 0.1


@click.command("cancel")
@experiment_argument
@click.option(
    "--term-after", type=click.FloatRange(min=0), default=TERM_AFTER_S, show_default=True, metavar="SECONDS",
    help="Send SIGTERM to what has not stopped by then.",
)  # fmt: skip
@click.option("--no-signal", is_flag=True, help="Only ask; send no signal.")
@click.option(
    "--kill-after", type=click.FloatRange(min=0), metavar="SECONDS",
    help="Send SIGKILL to what has not stopped by then. Without this nothing is killed.",
)  # fmt: skip
@click.option("--no-wait", is_flag=True, help="Return at once; the processes see to the signals themselves.")
@local_option
@store_options
@click.pass_context
def command(
    ctx: click.Context, *, experiment: str, term_after: float, no_signal: bool, kill_after: float | None,
    no_wait: bool, is_local: bool,
) -> int:  # fmt: skip
    """Ask an experiment to stop, and wait until it has.

    A request comes first: the program's next call of pipespan in its main thread raises `pipespan.Cancelled`. What has
    not stopped after --term-after gets SIGTERM; SIGKILL comes only with --kill-after. Seconds count from when the
    request was heard. Exits with 0 when all of it has stopped.
    """
    invocation = current(ctx)
    targets, use_database = find_targets(invocation, experiment, is_local=is_local)
    if not targets:
        click.echo("no live process works on it any more", err=True)
        return EXIT_GOES_ON
    signals = [] if no_signal else [(term_after, signal.SIGTERM)]
    if kill_after is not None:
        signals.append((kill_after, getattr(signal, "SIGKILL", signal.SIGTERM)))
    stopping = _Stopping(invocation, targets, sorted(signals), use_database=use_database)
    stopping.ask(is_watched=not no_wait)
    click.echo(
        f"asked {plural(len(targets), 'process', 'processes')} of {targets[0].name!r} to stop", err=True
    )
    return 0 if no_wait or stopping.wait() else EXIT_GOES_ON


class _Stopping:
    """One request to stop, until its end."""

    def __init__(
        self, invocation: Invocation, targets: Sequence[Target], signals: Sequence[tuple[float, int]], *,
        use_database: bool,
    ) -> None:  # fmt: skip
        self._invocation = invocation
        self._targets = targets
        self._signals = list(signals)
        self._use_database = use_database
        self._asked_at = invocation.clock()
        self._sent: str | None = None

    def ask(self, *, is_watched: bool) -> None:
        """Ask all; where `is_watched`, wait until they have heard it, so that no signal comes before they know why."""
        from pipespan.wiring.asking import Inquiry  # noqa: PLC0415 - psycopg is slow to import

        args: dict[str, object] = {"is_signalled_by_asker": is_watched}
        for after_s, number in self._signals:
            args["signal_after_s" if number == signal.SIGTERM else "kill_after_s"] = after_s
        inquiry = Inquiry(
            self._invocation.settings(), self._targets, "cancel", args, use_database=self._use_database
        )
        try:
            inquiry.ask()
            if is_watched:
                self._wait_until_heard(inquiry)
        finally:
            inquiry.close()
        self._asked_at = self._invocation.clock()

    def _wait_until_heard(self, inquiry: Inquiry) -> None:
        until_s = self._invocation.clock() + HEARD_S
        while not inquiry.poll() and self._invocation.clock() < until_s:
            if all(target.is_gone() for target in self._targets):
                return
            self._invocation.sleep(LOOK_S)

    def wait(self) -> bool:
        """Send the signals when their time comes; return whether all has stopped."""
        last_s = max((after_s for after_s, _ in self._signals), default=0.0)
        while not self._is_over():
            age_s = self._invocation.clock() - self._asked_at
            if self._signals and age_s >= self._signals[0][0]:
                self._send(self._signals.pop(0)[1])
            elif age_s > last_s + GRACE_S:
                return self._give_up()
            self._invocation.sleep(LOOK_S)
        click.echo("it has stopped", err=True)
        return True

    def _send(self, number: int) -> None:
        name = signal.Signals(number).name
        for target in self._targets:
            if target.send(number):
                self._sent = name
                click.echo(f"sent {name} to process {target.pid}", err=True)

    def _is_over(self) -> bool:
        """Tell whether all is over; ends the record of processes that are gone without having done so."""
        from pipespan.wiring.stopping import is_over  # noqa: PLC0415 - as above

        return is_over(
            self._invocation.settings(), self._targets, self._sent, use_database=self._use_database
        )

    def _give_up(self) -> bool:
        left = ", ".join(f"{target.pid} on {target.host}" for target in self._targets if not target.is_gone())
        click.echo(f"it has not stopped: process {left}; --kill-after SECONDS sends SIGKILL", err=True)
        return False
