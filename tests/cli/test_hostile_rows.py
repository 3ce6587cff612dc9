# ruff: noqa: E501 - tables of samples
"""No command lets a character of a row reach the terminal that the terminal would obey."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.cli.runner import Cli
from tests.query.samples import ListSource, experiment, job, log, node, parent

CONTROLS = [
    *map(chr, range(0x20)),
    *map(chr, range(0x7F, 0xA0)),
    "\u061c",
    "\u200b",
    "\u200e",
    "\u200f",
    "\u2028",
    "\u2029",
    *map(chr, range(0x202A, 0x202F)),
    *map(chr, range(0x2060, 0x2070)),
    "\ufeff",
    "\u00ad",
    "\u180e",
    "\U000e0041",
    "\x1b[2J",
    "\x1b]0;t\x07",
    "\x1bP1$q\x1b\\",
    "\x9b31m",
    "\x1b]8;;http://x\x1b\\",
    "\r\n",
    "\ud800",
]
FORBIDDEN = frozenset(char for text in CONTROLS if len(text) == 1 for char in text) - {"\n", "\ud800"}
HOSTILE = st.lists(
    st.sampled_from([*CONTROLS, "a", "bc ", "é", "漢", "/", "[red]", ":smile:"]), min_size=1, max_size=12
).map("".join)

COMMANDS = [
    ["list"],
    ["status"],
    ["status", "--json"],
    ["logs"],
    ["logs", "--json"],
    ["errors"],
    ["errors", "--traceback"],
    ["errors", "--json"],
    ["list", "--json"],
]


def hostile_source(text: str) -> ListSource:
    """Return a run in which every text that a program chooses is `text`."""
    return ListSource(
        [
            experiment(
                name=f"e{text}",
                command=text,
                host=text,
                user_name=text,
                tags=(text,),
                params={text: text},
                error_count=1,
            )
        ],
        [job(host=text, cause=text, command=text, log_messages=(text,))],
        [
            parent(f"r{text}", 40.0, message=text, unit=text),
            node(
                f"r{text}/n{text}",
                status="failed",
                message=text,
                error_type=text,
                metadata={text: text},
                unit=text,
                total_units=5,
            ),
        ],
        [
            log(
                1,
                text,
                level="ERROR",
                logger_name=text,
                node_id=f"r{text}",
                traceback=f"Trace\n{text}",
                error_type=text,
                context={text: text},
            )
        ],
    )


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@given(text=HOSTILE)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_command_prints_what_a_terminal_obeys(
    command: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Controls, bidirectional marks and invisible characters are shown as escapes, wherever they come."""
    result = Cli(capsys)(hostile_source(text), *command)
    assert not FORBIDDEN & set(result.out + result.err), (result.out, result.err)
