"""Tasks of a Dask graph as nodes below the step that computes it.

The client sends along where it is, as an annotation of the graph. The scheduler, which sees every task from its start
to its end, keeps a node for each prefix of keys (`sum`, `read_csv`), with its tasks as units; a prefix with few tasks
has them as children too. The workers run each task with its node, or that of its prefix, as the current one.
"""

from __future__ import annotations

import copy
import hashlib
import inspect
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final

from dask.base import annotate
from dask.utils import key_split
from distributed import Client, Scheduler, Worker
from distributed.diagnostics.plugin import SchedulerPlugin, WorkerPlugin

from pipespan.integrations.work import Branch, Piece, headers_here, key_of, serve_others, tell
from pipespan.record.headers import PARENT_HEADER

ANNOTATION: Final = "pipespan"
"""Annotation of a task with the headers that lead to the node it works below."""

MAX_TASKS_SHOWN: Final = 20
"""A prefix with more tasks than this is one node that counts them."""

_NAME: Final = "pipespan"
_KEY: Final = "work-key"
_ENDS: Final = frozenset({"memory", "erred", "forgotten"})


def instrument(client: Client, *, max_tasks_shown: int = MAX_TASKS_SHOWN) -> Client:
    """Have what `client` computes appear below the node that is current where it is computed; return it.

    Scheduler and workers need pipespan, and the same database.

    Args:
        client: a connected client, of whatever cluster.
        max_tasks_shown: a prefix with more tasks than this is one node that counts them.
    """
    client.register_plugin(PipespanScheduler(max_tasks_shown), name=_NAME)
    client.register_plugin(PipespanWorker(), name=_NAME)
    submit = client._graph_to_futures  # noqa: SLF001 - every way of computing goes through it

    def submit_annotated(*args: Any, **kwargs: Any) -> Any:
        with under_here():
            return submit(*args, **kwargs)

    client._graph_to_futures = submit_annotated  # noqa: SLF001
    return client


def under_here() -> Any:
    """Return a context manager in which graphs are annotated with where the caller is; `instrument` does it itself."""
    headers = headers_here()
    return annotate(**({ANNOTATION: headers} if headers else {}))


class PipespanScheduler(SchedulerPlugin):  # type: ignore[misc] # untyped here
    """Keeps the nodes of prefixes, in the scheduler's process."""

    idempotent = True

    def __init__(self, max_tasks_shown: int) -> None:
        self._max_tasks_shown = max_tasks_shown
        self._groups: dict[tuple[str, str], _Group] = {}
        self._group_of: dict[Any, _Group] = {}
        self._scheduler: Scheduler | None = None

    async def start(self, scheduler: Scheduler) -> None:
        """Remember whose plugin it is."""
        self._scheduler = scheduler
        serve_others()

    def update_graph(self, scheduler: Scheduler, **graph: Any) -> None:
        """Open the nodes of a graph that was just submitted, and tell its tasks which is theirs."""
        annotated = graph["annotations"].get(ANNOTATION, {})
        by_group: dict[tuple[str, str], list[Any]] = {}
        for key, headers in annotated.items():
            known = scheduler.tasks.get(key)
            is_new = known is not None and known.run_spec is not None and known.state == "released"
            if is_new and isinstance(headers, Mapping) and key not in self._group_of:
                place = (headers.get(PARENT_HEADER, ""), key_split(key))
                by_group.setdefault(place, []).append(key)
        for place, keys in by_group.items():
            group = self._groups.get(place)
            if group is None:
                group = self._groups[place] = _Group(annotated[keys[0]], place[1])
            is_small = group.tasks == 0 and len(keys) <= self._max_tasks_shown
            group.add(scheduler, keys, is_shown=is_small)
            self._group_of.update(dict.fromkeys(keys, group))

    def transition(self, key: Any, start: str, finish: str, *args: Any, **kwargs: Any) -> None:
        """Count a task that has ended."""
        # A task that is released runs again, or will be forgotten.
        group = self._group_of.pop(key, None) if finish in _ENDS else None
        if group is None:
            return
        group.done(finish)
        if group.is_over:
            group.close()
            self._groups = {place: one for place, one in self._groups.items() if one is not group}

    async def close(self) -> None:
        """End what is open: nobody will count it any more."""
        for group in self._groups.values():
            group.close()
        self._groups.clear()


class _Group:
    """The tasks of one prefix below one node."""

    def __init__(self, headers: Mapping[str, str], prefix: str) -> None:
        self._branch = Branch(headers, prefix, engine="dask", unit="tasks")
        self._prefix = prefix
        self.tasks = 0
        self._counts: Counter[str] = Counter()

    def add(self, scheduler: Scheduler, keys: list[Any], *, is_shown: bool) -> None:
        self.tasks += len(keys)
        self._branch.progress(self._ended, self.tasks)
        headers = self._branch.headers()
        for key in keys:
            own = headers
            if is_shown and headers:
                own = {**headers, _KEY: key_of(self._prefix, _digest(key))}
                tell(headers, self._prefix, own[_KEY], task_key=str(key))
            state = scheduler.tasks[key]
            state.annotations = {**(state.annotations or {}), ANNOTATION: own}

    def done(self, how: str) -> None:
        self._counts[how] += 1
        self._branch.progress(self._ended, self.tasks)

    @property
    def _ended(self) -> int:
        return sum(self._counts.values())

    @property
    def is_over(self) -> bool:
        return self._ended >= self.tasks

    def close(self) -> None:
        failed, done = self._counts["erred"], self._counts["memory"]
        if failed:
            self._branch.fail(f"{failed} of {self.tasks} tasks failed")
        elif done < self.tasks:
            self._branch.cancel(f"{self.tasks - done} of {self.tasks} tasks were given up")
        else:
            self._branch.end()


class PipespanWorker(WorkerPlugin):  # type: ignore[misc] # untyped here
    """Has tasks work below their nodes, in the process that runs them."""

    idempotent = True

    def setup(self, worker: Worker) -> None:
        """Remember whose plugin it is."""
        self._worker = worker
        serve_others()

    def transition(self, key: Any, start: str, finish: str, **kwargs: Any) -> None:
        """Put the node around a task that is about to run."""
        if finish not in {"executing", "long-running"} or start == "executing":
            return
        state: Any = self._worker.state.tasks[key]
        headers = (state.annotations or {}).get(ANNOTATION)
        spec = state.run_spec
        function = getattr(spec, "func", None)
        if not isinstance(headers, Mapping) or function is None or isinstance(function, Below):
            return
        state.run_spec = copy.copy(spec)
        state.run_spec.func = Below(function, dict(headers), key_split(key), str(key), self._worker.name)


class Below:
    """The function of a task, working below the node that its headers lead to."""

    def __init__(
        self, function: Callable[..., Any], headers: dict[str, str], name: str, key: str, worker: Any
    ) -> None:
        self._function = function
        self._headers = headers
        self._name = name
        self._key = key
        self._worker = str(worker)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call it; a coroutine function's node lasts until it has been awaited."""
        if inspect.iscoroutinefunction(self._function):
            return self._awaited(*args, **kwargs)
        piece = self._piece()
        try:
            result = self._function(*args, **kwargs)
        except BaseException as error:
            piece.end(error)
            raise
        piece.end()
        return result

    async def _awaited(self, *args: Any, **kwargs: Any) -> Any:
        piece = self._piece()
        try:
            result = await self._function(*args, **kwargs)
        except BaseException as error:
            piece.end(error)
            raise
        piece.end()
        return result

    def _piece(self) -> Piece:
        key = self._headers.get(_KEY)
        return Piece(self._headers, self._name, key, task_key=self._key, worker=self._worker).start()


def _digest(key: Any) -> str:
    return hashlib.sha256(repr(key).encode()).hexdigest()
