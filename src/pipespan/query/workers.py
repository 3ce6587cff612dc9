"""The processes that share the work of an experiment: how far each is, and who is behind the others."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from pipespan.model.health import RANK_KEY, WORLD_SIZE_KEY, HealthWord
from pipespan.model.records import JobRecord
from pipespan.model.status import TERMINAL_STATUSES
from pipespan.query.document import to_json
from pipespan.query.status import NodeView, StatusView

MIN_PEERS: Final = 3
"""Of two that differ nobody can say which is the odd one."""

BEHIND: Final = 0.75
"""A worker whose share is done to less than this part of what its peers have done, in the median, is behind."""

MIN_GAP: Final = 0.1
"""And by at least so much of its share: at the start all are at different small fractions."""

SLOWER: Final = 3.0
"""A piece of work that has run for so many times the median of its ended peers is behind."""

MIN_EXCESS_S: Final = 10.0
"""And for at least so much longer."""

_DIGITS: Final = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Straggler:
    """A node that is behind its peers, and who works on it.

    Attributes:
        node_id: the node.
        job_id: whose.
        who: the process, for people.
        reason: how far it is behind, in words.
    """

    node_id: str
    job_id: str | None
    who: str
    reason: str


@dataclass(frozen=True, slots=True)
class Worker:
    """A process of the latest attempt.

    Attributes:
        job_id: of its part in the experiment.
        who: the process, for people.
        host: where it runs.
        pid: its number there.
        rank: among parallel workers, where a launcher told.
        world_size: how many there are, where it told that.
        health: whether it is alive.
        running: nodes that it has open.
        ended: nodes that it has completed.
        failed: nodes that failed or were cancelled.
        progress_percent: of the topmost nodes that it opened, by weight; None where nothing can be measured.
        node: the deepest node that it has open and began last.
        is_straggler: whether it is behind its peers.
    """

    job_id: str
    who: str
    host: str
    pid: int
    rank: int | None
    world_size: int | None
    health: HealthWord
    running: int
    ended: int
    failed: int
    progress_percent: float | None
    node: str | None
    is_straggler: bool


def workers_of(view: StatusView) -> tuple[Worker, ...]:
    """Return the processes of the latest attempt, ranks in their order, then by start."""
    jobs = _latest(view.jobs)
    words: dict[str, HealthWord] = {verdict.job_id: verdict.word for verdict in view.health.jobs}
    behind = {one.job_id for one in stragglers_of(view)}
    nodes: dict[str | None, list[NodeView]] = defaultdict(list)
    owners: dict[str, str | None] = {}
    for node in view.walk():
        nodes[node.record.job_id].append(node)
        owners[node.record.node_id] = node.record.job_id
    found = [
        _worker(job, nodes[job.id], owners, words.get(job.id, "finished"), is_straggler=job.id in behind)
        for job in jobs
    ]
    # Some processes record nothing of their own, such as a supervisor or a scheduler.
    found = [one for one in found if one.running or one.ended or one.failed]
    started = {job.id: job.started_at for job in jobs}
    return tuple(sorted(found, key=lambda one: (one.rank is None, one.rank or 0, started[one.job_id])))


def stragglers_of(view: StatusView) -> tuple[Straggler, ...]:
    """Return what is behind its peers: nodes of one kind below one parent, opened by several processes."""
    jobs = {job.id: job for job in _latest(view.jobs)}
    if len(jobs) < 2 or view.is_over:
        return ()
    groups: dict[tuple[str | None, str], list[NodeView]] = defaultdict(list)
    for node in view.walk():
        if node.record.status != "pending" and node.record.job_id in jobs:
            groups[node.record.parent_id, _DIGITS.sub("#", node.record.node_name)].append(node)
    found: list[Straggler] = []
    for peers in groups.values():
        owners = {node.record.job_id for node in peers}
        if len(peers) < MIN_PEERS or len(owners) < 2:
            continue
        reasons = _by_share(peers) if len(owners) == len(peers) else _by_time(peers)
        found.extend(
            Straggler(node.record.node_id, node.record.job_id, who_of(jobs[str(node.record.job_id)]), reason)
            for node, reason in reasons
        )
    return tuple(found)


def workers_document(view: StatusView) -> dict[str, Any]:
    """Return workers and stragglers as they are printed with `--json`."""
    return {"workers": to_json(workers_of(view)), "stragglers": to_json(stragglers_of(view))}


def who_of(job: JobRecord) -> str:
    """Return which process it is, for people: by its rank where it has one."""
    rank = _number(job.evidence, RANK_KEY)
    return f"{'' if rank is None else f'rank {rank}, '}process {job.pid} on {job.host}"


def _latest(jobs: Sequence[JobRecord]) -> list[JobRecord]:
    latest = max((job.attempt for job in jobs), default=0)
    return [job for job in jobs if job.attempt == latest]


def _worker(
    job: JobRecord,
    nodes: Sequence[NodeView],
    owners: Mapping[str, str | None],
    word: HealthWord,
    *,
    is_straggler: bool,
) -> Worker:
    tops = [node for node in nodes if owners.get(node.record.parent_id or "") != job.id]
    measured = [node for node in tops if node.is_measurable or node.record.status in TERMINAL_STATUSES]
    weight = sum(node.record.weight for node in measured)
    share = sum(_share(node) * node.record.weight for node in measured)
    open_nodes = [node for node in nodes if node.record.status == "running"]
    return Worker(
        job_id=job.id,
        who=who_of(job),
        host=job.host,
        pid=job.pid,
        rank=_number(job.evidence, RANK_KEY),
        world_size=_number(job.evidence, WORLD_SIZE_KEY),
        health=word,
        running=len(open_nodes),
        ended=sum(node.record.status == "completed" for node in nodes),
        failed=sum(node.record.status in {"failed", "cancelled"} for node in nodes),
        progress_percent=round(100 * share / weight, 3) if weight else None,
        node=open_nodes[-1].record.node_id if open_nodes else None,
        is_straggler=is_straggler,
    )


def _share(node: NodeView) -> float:
    return 1.0 if node.record.status in TERMINAL_STATUSES else node.record.progress_percent / 100


def _by_share(peers: Sequence[NodeView]) -> list[tuple[NodeView, str]]:
    """Compare how far peers are that have one share each, as ranks do."""
    measured = [node for node in peers if node.is_measurable or node.record.status in TERMINAL_STATUSES]
    if len(measured) < MIN_PEERS:
        return []
    usual = median(_share(node) for node in measured)
    return [
        (node, f"{_share(node):.0%} done, the others {usual:.0%}")
        for node in measured
        if node.record.status == "running"
        and _share(node) < BEHIND * usual
        and usual - _share(node) >= MIN_GAP
    ]


def _by_time(peers: Sequence[NodeView]) -> list[tuple[NodeView, str]]:
    """Compare how long peers take that are handed out one after the other, as by a pool."""
    ended = [
        node.duration_s for node in peers if node.record.status == "completed" and node.duration_s is not None
    ]
    if len(ended) < MIN_PEERS:
        return []
    usual_s = median(ended)
    return [
        (node, f"running for {node.duration_s:.0f} s, the others took {usual_s:.1f} s")
        for node in peers
        if node.record.status == "running"
        and node.duration_s is not None
        and node.duration_s > SLOWER * usual_s
        and node.duration_s - usual_s >= MIN_EXCESS_S
    ]


def _number(evidence: Mapping[str, Any], key: str) -> int | None:
    value = evidence.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
