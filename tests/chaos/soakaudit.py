"""Holds the tables against the journals: what a process knows that it recorded is there, once, and ended as it did."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

ENDS = ("completed", "failed")


@dataclass
class Known:
    """What the journal of a process tells.

    Attributes:
        began: (what, name) of calls that were begun.
        done: of those that had returned.
        is_killed: whether it was ended from outside; then what is open is ended by others, as failed.
    """

    tag: str
    experiment: str
    is_child: bool
    began: set[tuple[str, str]] = field(default_factory=set)
    done: set[tuple[str, str]] = field(default_factory=set)
    is_killed: bool = False

    @classmethod
    def read(cls, path: Path, *, is_killed: bool) -> Known | None:
        """Return what stands in a journal; None when the process did not come so far as to begin it."""
        lines = [
            json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")
        ]
        if not lines:
            return None
        known = cls(lines[0]["tag"], lines[0]["experiment"], lines[0]["child"], is_killed=is_killed)
        for line in lines[1:]:
            (known.began if line["when"] == "before" else known.done).add((line["what"], line["name"]))
        return known


@dataclass
class Verdict:
    """What the audit found; each list holds a line for each discrepancy."""

    calls: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        return not (self.lost or self.twice or self.wrong)


def audit(dsn: str, journals: list[Known]) -> Verdict:
    """Compare all of it."""
    verdict = Verdict()
    with psycopg.connect(dsn) as connection:
        logs = Counter(
            text.removeprefix("soak ")
            for (text,) in connection.execute("select message from pipeline_logs where message like 'soak %'")
        )
        events = Counter(
            text.removeprefix("soak ")
            for (text,) in connection.execute("select title from pipeline_events where title like 'soak %'")
        )
        nodes = {
            (str(experiment), name): status
            for experiment, name, status in connection.execute(
                "select experiment_id, node_name, status from pipeline_progress"
            )
        }
        experiments = {
            str(experiment): status
            for experiment, status in connection.execute("select id, status from experiments")
        }
        deaths = Counter(
            str(job)
            for (job,) in connection.execute("select job_id from pipeline_events where event_type = 'death'")
        )
        open_jobs = [
            str(job)
            for (job,) in connection.execute(
                "select id from processing_jobs where status in ('running', 'pending')"
            )
        ]
        rows = connection.execute("select count(*) from pipeline_progress where end_time is null").fetchone()
    verdict.wrong += [f"job {job} is still open" for job in open_jobs]
    verdict.wrong += [f"{rows[0]} nodes are still open"] if rows and rows[0] else []
    verdict.twice += [f"{count} deaths of job {job}" for job, count in deaths.items() if count > 1]
    for kind, found in (("log", logs), ("event", events)):
        verdict.twice += [f"{kind} {name}: {count} times" for name, count in found.items() if count > 1]
    for known in journals:
        _check_rows(verdict, known, logs, events)
        verdict.wrong += _wrong_statuses(known, nodes, experiments)
        verdict.calls.update(what for what, _ in known.done)
    _check_strangers(verdict, journals, logs)
    return verdict


def _check_rows(verdict: Verdict, known: Known, logs: Counter[str], events: Counter[str]) -> None:
    for kind, found in (("log", logs), ("event", events)):
        verdict.lost += [f"{kind} {name}" for what, name in known.done if what == kind and name not in found]


def _check_strangers(verdict: Verdict, journals: list[Known], logs: Counter[str]) -> None:
    begun = {name for known in journals for what, name in known.began if what == "log"}
    verdict.wrong += [f"log {name} was never written" for name in logs if name not in begun]


def _wrong_statuses(
    known: Known, nodes: dict[tuple[str, str], str], experiments: dict[str, str]
) -> Iterator[str]:
    for what, name in known.done:
        if what in ENDS:
            node = "soak" if name == "run" else name
            got = nodes.get((known.experiment, node))
            if got != what:
                yield f"node {node} of {known.experiment}: {got} instead of {what}"
        elif what == "open" and (known.experiment, "soak" if name == "run" else name) not in nodes:
            yield f"node {name} of {known.experiment} is missing"
    for what, name in known.done:
        is_ended = any((end, name) in known.began for end in ENDS)
        if what == "open" and known.is_killed and not is_ended:
            got = nodes.get((known.experiment, "soak" if name == "run" else name))
            if got != "failed":
                yield f"node {name} of {known.experiment}, whose process was killed: {got}"
    if known.is_child:
        return
    ended = [end for end in ENDS if (end, "run") in known.done]
    got = experiments.get(known.experiment)
    if ended and got != ended[0]:
        yield f"experiment {known.experiment}: {got} instead of {ended[0]}"
    if ("open", "run") in known.done and not ended and got not in ENDS:
        yield f"experiment {known.experiment}, whose process was killed: {got}"
