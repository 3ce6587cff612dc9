"""How far an experiment is and how it fares, as one immutable value that any display can show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from pipespan.model.health import Health, HealthWord, derive_health
from pipespan.model.monitoring import Monitoring, monitoring_of
from pipespan.model.progress import Pace, Progress, initial_pace
from pipespan.model.records import ExperimentRecord, JobRecord, NodeRecord
from pipespan.model.status import TERMINAL_STATUSES, Status
from pipespan.model.tree import WHOLE_PPB, TreeNode, build_forest
from pipespan.query.deaths import Ending, endings_of
from pipespan.query.liveness import gather_evidence
from pipespan.query.resolve import by_id, resolve
from pipespan.query.stalls import NEWEST, with_held_interpreter
from pipespan.store.base import Source

_MOVING: Final[frozenset[HealthWord]] = frozenset({"alive", "stalled"})

_PPB_PER_PERCENT: Final = WHOLE_PPB // 100
_NS_PER_S: Final = 1_000_000_000

NodeState = Status | Literal["interrupted"]
"""What a node is shown as: its recorded status, or that death came before its end could be recorded."""


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node with what follows from it and from those below.

    Attributes:
        record: the row.
        state: the recorded status; `interrupted` where that says running but the experiment is dead.
        children: nodes below, in order of start.
        duration_s: how long it ran, or has been running; None while pending.
        rate_per_s: own units a second; None where there are none or nothing was done.
        eta_s: seconds until it is done; None when it cannot be known.
        error_count: ERROR and CRITICAL log records of this node alone.
        errors_within: the same with all nodes below.
        is_measurable: whether its percent means something: it has a total, or children.
        moved_s: when it or a node below last told something, seconds since 1970.
        pace: recent-weighted pace of its units, or of its parts per billion.
    """

    record: NodeRecord
    state: NodeState
    children: Sequence[NodeView]
    duration_s: float | None
    rate_per_s: float | None
    eta_s: float | None
    error_count: int
    errors_within: int
    is_measurable: bool
    moved_s: float | None
    pace: Pace | None


@dataclass(frozen=True, slots=True)
class StatusView:
    """An experiment at an instant.

    Attributes:
        experiment: the row.
        roots: the tree; usually one root.
        jobs: all processes that worked on it.
        health: derived at `seen_at`.
        error_counts: ERROR and CRITICAL log records by node id; None is the key of those outside any node.
        counts: how many nodes have each state.
        duration_s: since its start, until the last sign of life of one that is dead or out of contact; None
            while it is pending.
        eta_s: seconds until the slowest running root is done.
        seen_at: when it was read.
    """

    experiment: ExperimentRecord
    roots: Sequence[NodeView]
    jobs: Sequence[JobRecord]
    health: Health
    error_counts: Mapping[str | None, int]
    counts: Mapping[NodeState, int]
    duration_s: float | None
    eta_s: float | None
    seen_at: datetime

    @property
    def is_over(self) -> bool:
        """Whether the experiment has a final status."""
        return self.experiment.status in TERMINAL_STATUSES

    @property
    def endings(self) -> tuple[Ending, ...]:
        """How its processes ended that did not succeed."""
        return endings_of(self.jobs)

    @property
    def monitoring(self) -> Monitoring | None:
        """What recording did and cost, over all processes, as they told it last; None where none has told."""
        return monitoring_of((job.evidence, job.status in TERMINAL_STATUSES) for job in self.jobs)

    @property
    def error_count(self) -> int:
        """ERROR and CRITICAL log records in all."""
        return max(self.experiment.error_count, sum(self.error_counts.values()))

    def walk(self) -> Iterator[NodeView]:
        """Yield all nodes, parents before their children."""
        waiting = list(reversed(self.roots))
        while waiting:
            node = waiting.pop()
            yield node
            waiting.extend(reversed(node.children))


def status(source: Source, reference: str, now: datetime, previous: StatusView | None = None) -> StatusView:
    """Return the status of the experiment that `reference` means.

    Args:
        source: where to read.
        reference: name, id, id prefix or `last`.
        now: the reader's time, aware.
        previous: an earlier view of the same experiment, for rates that follow the last half minute.

    Raises:
        NotFoundError: nothing answers to the reference.
        AmbiguousError: several experiments do.
        StoreError: the store does not answer.
    """
    return _status(source, resolve(source, reference), now, previous)


def status_again(source: Source, previous: StatusView, now: datetime) -> StatusView:
    """Return the status of the very experiment of `previous`, whatever else has been started since."""
    return _status(source, by_id(source, previous.experiment.id), now, previous)


def health_of(source: Source, experiment: ExperimentRecord, now: datetime) -> Health:
    """Return the health of `experiment`; asks for its jobs only when it has not succeeded."""
    jobs = [] if experiment.status == "completed" else source.jobs(experiment.id)
    return derive_health(experiment, jobs, now, gather_evidence(jobs))


def _status(
    source: Source, experiment: ExperimentRecord, now: datetime, previous: StatusView | None
) -> StatusView:
    records = source.nodes(experiment.id)
    jobs = source.jobs(experiment.id)
    errors = source.error_counts(experiment.id)
    health = derive_health(experiment, jobs, now, gather_evidence(jobs))
    if health.word == "lost contact":
        health = with_held_interpreter(health, jobs, source.events(experiment.id, limit=NEWEST))
    now_s = _last_known_s(experiment, jobs, records, health, now)
    known = {} if previous is None else {node.record.node_id: node for node in previous.walk()}
    roots = _views(build_forest(records, errors), _Surroundings(now_s, health.word, errors, known))
    etas = [root.eta_s for root in roots if root.eta_s is not None]
    duration_s = _span_s(experiment.started_at, experiment.ended_at, now_s)
    if duration_s is not None and experiment.ended_at is None:
        duration_s = max(duration_s, _longest_s(roots))
    return StatusView(
        experiment=experiment,
        roots=roots,
        jobs=tuple(jobs),
        health=health,
        error_counts=errors,
        counts=Counter(_state(record, health.word) for record in records),
        duration_s=duration_s,
        eta_s=max(etas, default=None),
        seen_at=now,
    )


def _longest_s(roots: Sequence[NodeView]) -> float:
    """Return the duration of the longest root; what runs below one runs within it."""
    return max((root.duration_s or 0.0 for root in roots), default=0.0)


def _last_known_s(
    experiment: ExperimentRecord,
    jobs: Sequence[JobRecord],
    records: Sequence[NodeRecord],
    health: Health,
    now: datetime,
) -> float:
    """Return until when running nodes are known to have run: the clocks of the dead stand still."""
    if health.word == "finished":
        return (experiment.ended_at or now).timestamp()
    if health.word in _MOVING:
        return now.timestamp()
    signs: list[datetime | None] = [sign for job in jobs for sign in (job.heartbeat_at, job.progress_at)]
    signs += [sign for record in records for sign in (record.start_time, record.end_time)]
    told_s = max((record.version for record in records), default=0) / _NS_PER_S
    last_s = max((sign.timestamp() for sign in signs if sign is not None), default=now.timestamp())
    return max(last_s, told_s)


@dataclass(frozen=True, slots=True)
class _Surroundings:
    """What the views of nodes are made with."""

    now_s: float
    health: HealthWord
    errors: Mapping[str | None, int]
    known: Mapping[str, NodeView]


def _views(forest: Sequence[TreeNode[NodeRecord]], around: _Surroundings) -> tuple[NodeView, ...]:
    """Return the views of `forest`; walks with a list of its own, as trees may be deeper than the stack."""
    order = list(forest)
    for tree in order:  # grows while it is walked: every node comes after its parent
        order.extend(tree.children)
    done: dict[int, NodeView] = {}
    for tree in reversed(order):
        done[id(tree)] = _view(tree, tuple(done.pop(id(child)) for child in tree.children), around)
    return tuple(done[id(tree)] for tree in forest)


def _view(tree: TreeNode[NodeRecord], children: tuple[NodeView, ...], around: _Surroundings) -> NodeView:
    record = tree.record
    own_moved_s = record.version / _NS_PER_S if record.version > 0 else None
    moved_s = max((one for one in (own_moved_s, *(child.moved_s for child in children)) if one), default=None)
    # What a node told after the last heartbeat is known, too.
    is_moving = around.health in _MOVING
    until_s = around.now_s if is_moving else max(around.now_s, moved_s or 0.0)
    has_units = _counts_units(record)
    done = _done(record)
    progress = Progress(
        completed=done,
        total=(record.total_units or None) if has_units else WHOLE_PPB,
        started_s=None if record.start_time is None else record.start_time.timestamp(),
        now_s=until_s if record.end_time is None else record.end_time.timestamp(),
        moved_s=moved_s if record.end_time is None else None,
        pace=_pace(record, done, moved_s, around.known.get(record.node_id)),
        is_total_open=not has_units,
    )
    is_running = record.status == "running" and is_moving
    return NodeView(
        record=record,
        state=_state(record, around.health),
        children=children,
        duration_s=_span_s(record.start_time, record.end_time, until_s),
        rate_per_s=_rate(progress, record, has_units=has_units, is_running=is_running),
        eta_s=progress.eta_s if is_running else None,
        error_count=around.errors.get(record.node_id, 0),
        errors_within=tree.error_count,
        is_measurable=_is_measurable(record),
        moved_s=moved_s,
        pace=progress.pace,
    )


def _state(record: NodeRecord, health: HealthWord) -> NodeState:
    return "interrupted" if record.status == "running" and health == "dead" else record.status


def _is_measurable(record: NodeRecord) -> bool:
    return record.status == "completed" or bool(record.total_units) or record.child_weight > 0


def _counts_units(record: NodeRecord) -> bool:
    """Tell whether a node is measured in units of its own; else its children measure it."""
    return bool(record.total_units) or record.child_weight <= 0


def _done(record: NodeRecord) -> int:
    return (
        record.completed_units if _counts_units(record) else round(record.progress_percent * _PPB_PER_PERCENT)
    )


def _pace(record: NodeRecord, done: int, moved_s: float | None, before: NodeView | None) -> Pace | None:
    """Return the pace that follows from an earlier view, None without one or when the node began anew."""
    if record.status != "running" or before is None or before.moved_s is None or moved_s is None:
        return None
    if record.attempt != before.record.attempt or before.record.start_time is None:
        return None
    had = _done(before.record)
    if done < had or _counts_units(record) != _counts_units(before.record):
        return None
    start_s = before.record.start_time.timestamp()
    pace = before.pace or initial_pace(had, before.moved_s - start_s)
    return pace.then(done - had, moved_s - before.moved_s)


def _rate(progress: Progress, record: NodeRecord, *, has_units: bool, is_running: bool) -> float | None:
    if not has_units or record.completed_units <= 0:
        return None
    if is_running:
        return None if progress.is_stalled else progress.rate_per_s
    return initial_pace(progress.completed, progress.elapsed_s).rate_per_s or None


def _span_s(start: datetime | None, end: datetime | None, now_s: float) -> float | None:
    if start is None:
        return None
    return max(0.0, (now_s if end is None else end.timestamp()) - start.timestamp())
