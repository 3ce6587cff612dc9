from __future__ import annotations

import pytest

from pipespan.model.records import JobRecord
from tests.cli.runner import Cli, sample_source
from tests.query.samples import EXPERIMENT_ID, ListSource, ago, experiment, job, log, node

READING = ("status", "logs", "errors", "watch")
EVIL = "\x1b]0;pwned\x07\r\x1b[2J\u202eevil\x9b31m\u2028"


def is_harmless(text: str) -> bool:
    return not any(ord(char) < 0x20 or 0x7F <= ord(char) <= 0x9F or char in "\u202e\u2028" for char in text)


def test_status_shows_the_tree(cli: Cli) -> None:
    """The tree tells status, percent, units, ETA and errors, in 80 columns, without colours over a pipe."""
    result = cli(sample_source(), "status")
    assert result.code == 0
    assert "nightly-train" in result.lines[0]
    assert "running, alive" in result.lines[0]
    fit = next(line for line in result.lines if " fit" in line)
    assert "25%" in fit
    assert "25/100" in fit
    assert "ETA" in fit
    assert "ValueError: no such column 'x'" in result.out
    assert "3 errors: pipespan errors 3f2a9c1b" in result.out
    assert "\x1b" not in result.out
    assert all(len(line) <= 80 for line in result.lines)


def test_status_json_is_one_object(cli: Cli) -> None:
    """`status --json` prints one line with the promised keys."""
    (document,) = cli(sample_source(), "status", "last", "--json").documents
    assert document["experiment"]["id"] == EXPERIMENT_ID
    assert document["experiment"]["name"] == "nightly-train"
    assert document["experiment"]["status"] == "running"
    assert document["health"] == "alive"
    assert len(document["nodes"]) == 5
    assert document["jobs"][0]["heartbeat_at"].endswith("Z")


def test_depth_cuts_the_tree(cli: Cli) -> None:
    """`--depth 1` leaves the root, in both forms."""
    assert " fit" not in cli(sample_source(), "status", "--depth", "1").out
    (document,) = cli(sample_source(), "status", "--depth", "1", "--json").documents
    assert len(document["nodes"]) == 1


def test_list_tells_health(cli: Cli) -> None:
    """A silent run is told apart from a living one, an ended one has its outcome."""
    source = sample_source()
    source.found += [
        experiment(id="aaaa0000-0000-4000-8000-000000000002", name="quiet"),
        experiment(id="bbbb0000-0000-4000-8000-000000000003", name="done", status="completed"),
    ]
    source.all_jobs.append(job(id="j2", experiment_id=source.found[1].id, heartbeat_at=ago(4000)))
    result = cli(source, "list")
    assert [line.split()[1] for line in result.lines] == ["3f2a9c1b", "aaaa0000", "bbbb0000"]
    assert "lost contact" in result.lines[1]
    assert "completed" in result.lines[2]
    assert all(len(line) <= 80 for line in result.lines)
    documents = cli(source, "list", "--json").documents
    assert [one["health"] for one in documents] == ["alive", "lost contact", "finished"]
    assert [one["name"] for one in documents] == ["nightly-train", "quiet", "done"]
    assert [one["name"] for one in cli(source, "list", "--status", "completed", "--json").documents] == [
        "done"
    ]
    assert len(cli(source, "list", "--limit", "1", "--json").documents) == 1


def test_list_of_nothing(cli: Cli) -> None:
    """An empty store is no error; over JSON it is no line."""
    assert cli(ListSource(), "list").lines == ["no experiments"]
    assert cli(ListSource(), "list", "--json").out == ""


def test_logs_are_filtered(cli: Cli) -> None:
    """Level, text, node and limit choose what is shown."""
    source = sample_source()
    assert [one["id"] for one in cli(source, "logs", "--json").documents] == [1, 2, 3, 4]
    assert [one["id"] for one in cli(source, "logs", "--level", "error", "--json").documents] == [2, 3, 4]
    assert [one["id"] for one in cli(source, "logs", "--grep", "DISK", "--json").documents] == [4]
    assert [one["id"] for one in cli(source, "logs", "--node", "train/load", "--json").documents] == [1, 2, 3]
    assert [one["id"] for one in cli(source, "logs", "--limit", "2", "--json").documents] == [3, 4]


def test_log_lines(cli: Cli) -> None:
    """A line has time with zone, level, node, message; the traceback comes when it is asked for."""
    source = sample_source()
    result = cli(source, "logs", "--level", "ERROR")
    assert "ERROR    train/load: cannot parse 'a.py'" in result.lines[0]
    assert "SyntaxError: bad" not in result.out
    assert "--traceback" in result.lines[0]
    assert "    SyntaxError: bad" in cli(source, "logs", "--traceback").lines


def test_long_log_lines_stay_whole_over_a_pipe(cli: Cli) -> None:
    """grep finds what is written in one line."""
    source = sample_source()
    source.all_logs = [log(1, "x" * 500)]
    assert len(cli(source, "logs").lines) == 1


def test_follow_ends_with_the_experiment(cli: Cli) -> None:
    """`logs -f` goes on with new lines and ends when the experiment does."""
    source = sample_source()

    def go_on(_seconds: float) -> None:
        if len(source.all_logs) < 6:
            source.all_logs.append(log(10 + len(source.all_logs), "news"))
        else:
            source.found = [experiment(status="completed")]

    cli.sleep = go_on
    result = cli(source, "logs", "-f", "--json", "--limit", "1")
    assert result.code == 0
    assert [one["id"] for one in result.documents] == [4, 14, 15]


def test_follow_ends_with_a_death(cli: Cli) -> None:
    """`logs -f` of a process that is gone does not wait for ever: it says why and fails."""
    source = sample_source()
    source.all_jobs = [job(status="failed", cause="signal 9")]
    result = cli(source, "logs", "-f")
    assert result.code == 1
    assert len(result.lines) == 4
    assert result.err == "dead: process 4711 on node7.example has ended: signal 9\n"
    assert cli.clock_s <= 5.0


def test_follow_waits_for_a_new_attempt(cli: Cli) -> None:
    """A process that dies and is started anew within seconds does not end `logs -f`."""
    source = sample_source()
    looks = {"jobs": 0}
    answered = source.jobs

    def jobs(experiment_id: str) -> list[JobRecord]:
        looks["jobs"] += 1
        return answered(experiment_id)

    source.jobs = jobs  # type: ignore[method-assign]  # counts the looks

    def go_on(_seconds: float) -> None:
        if cli.clock_s > 20:
            source.found = [experiment(status="completed")]
        elif cli.clock_s > 8:
            source.all_jobs = [job(attempt=2)]
        elif cli.clock_s > 2:
            source.all_jobs = [job(status="failed", cause="signal 9")]

    cli.sleep = go_on
    assert cli(source, "logs", "-f").code == 0
    assert 20 < cli.clock_s < 24
    assert looks["jobs"] <= 16


def test_follow_of_an_ended_experiment_returns_at_once(cli: Cli) -> None:
    """There is nothing to wait for."""
    source = sample_source()
    source.found = [experiment(status="failed")]
    assert cli(source, "logs", "-f").code == 0
    assert cli.clock_s <= 0.5


def test_errors_are_grouped(cli: Cli) -> None:
    """The most frequent kind comes first; the human form ends with a summary, JSON has none."""
    result = cli(sample_source(), "errors")
    assert "2 × SyntaxError" in result.lines[0]
    assert "in load" in result.lines[0]
    assert result.lines[-1] == "3 errors of 2 kinds"
    first, second = cli(sample_source(), "errors", "--json").documents
    assert (first["error_type"], first["count"], first["stage"]) == ("SyntaxError", 2, "load")
    assert second["last_seen"].endswith("Z")
    assert "    SyntaxError: bad" not in result.lines


def test_errors_say_why(cli: Cli) -> None:
    """Where the message does not give the reason, the line of the exception does, within the width."""
    traceback = 'Traceback (most recent call last):\n  File "a.py"\nZeroDivisionError: division by zero'
    untold = log(1, "step failed", "ERROR", error_type="ZeroDivisionError", traceback=traceback)
    result = cli(ListSource([experiment()], all_logs=[untold]), "errors")
    assert "         ZeroDivisionError: division by zero" in result.lines
    told = log(1, "failed: division by zero", "ERROR", error_type="ZeroDivisionError", traceback=traceback)
    assert result.out.count("division by zero") == 1
    assert cli(ListSource([experiment()], all_logs=[told]), "errors").out.count("division by zero") == 1
    noted = traceback + "x" * 200 + "\nand more\nHint: a note"
    long = log(1, "step failed", "ERROR", error_type="ZeroDivisionError", traceback=noted)
    result = cli(ListSource([experiment()], all_logs=[long]), "errors")
    assert "ZeroDivisionError: division by zero" in result.out
    assert all(len(line) <= 80 for line in result.lines)


@pytest.mark.parametrize(
    ("typed", "ids"),
    [
        ("ERR", [2, 3, 4]),
        ("error", [2, 3, 4]),
        ("warn", [2, 3, 4]),
        ("Fatal", [4]),
        ("c", [4]),
        ("d", [1, 2, 3, 4]),
    ],
)
def test_levels_by_their_beginning(cli: Cli, typed: str, ids: list[int]) -> None:
    """A level need not be typed whole, nor in capitals; names of other systems are known."""
    result = cli(sample_source(), "logs", "--level", typed, "--json")
    assert [one["id"] for one in result.documents] == ids


def test_long_error_messages_are_wrapped(cli: Cli) -> None:
    """The file at the end of a message is not cut away, and no line is longer than 80."""
    path = "/data/" + "very/deep/" * 10 + "part-00017.csv"
    source = ListSource([experiment()], all_logs=[log(1, f"cannot read {path}", "ERROR")])
    result = cli(source, "errors")
    assert "part-00017.csv" in "".join(line.strip() for line in result.lines)
    assert all(len(line) <= 80 for line in result.lines)


def test_errors_of_a_clean_run(cli: Cli) -> None:
    """No errors is an answer, not a failure."""
    result = cli(ListSource([experiment()]), "errors")
    assert result.code == 0
    assert result.out.startswith("no errors")


@pytest.mark.parametrize("command", READING)
@pytest.mark.parametrize("reference", ["nope", "3f2a"])
def test_unknown_and_ambiguous_names(cli: Cli, command: str, reference: str) -> None:
    """One clear line on stderr and exit code 2, whichever command is asked."""
    source = sample_source()
    source.found.append(experiment(id="3f2a0000-0000-4000-8000-000000000002"))
    result = cli(source, command, reference)
    assert result.code == 2
    assert result.out == ""
    assert result.err.startswith("pipespan: ")
    assert len(result.err.splitlines()) == 1


def test_every_command_takes_the_newest_by_default(cli: Cli) -> None:
    """`last` need not be typed."""
    source = sample_source()
    source.found = [experiment(status="completed")]
    assert {cli(source, command).code for command in READING} == {0}


@pytest.mark.parametrize(
    "args", [("status",), ("list",), ("logs", "--traceback"), ("errors", "--traceback"), ("watch",)]
)
def test_names_and_texts_cannot_command_the_terminal(cli: Cli, args: tuple[str, ...]) -> None:
    """Escape sequences, bells, carriage returns and reordering characters are shown, never obeyed."""
    source = ListSource(
        [experiment(name=EVIL, status="failed", error_count=1)],
        [job(host=EVIL)],
        [
            node(
                "train",
                node_name=EVIL,
                unit=EVIL,
                completed_units=3,
                status="failed",
                error_type=EVIL,
                message=EVIL,
            )
        ],
        [log(1, EVIL, "ERROR", node_id=EVIL, logger_name=EVIL, error_type=EVIL, traceback=f"a\n{EVIL}\r\nb")],
    )
    for form in ((), ("--json",)):
        result = cli(source, *args, *form)
        assert result.code == 0
        assert all(map(is_harmless, result.out.split("\n"))), result.out
        assert "vil" in result.out


def test_evil_reference_is_told_harmlessly(cli: Cli) -> None:
    """What was typed comes back in the error without its escapes."""
    result = cli(sample_source(), "status", EVIL)
    assert result.code == 2
    assert is_harmless(result.err.rstrip("\n"))
