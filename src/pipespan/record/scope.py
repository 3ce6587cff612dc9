"""Scopes open and close nodes: as context managers and as decorators, for sync and async code alike."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from pipespan.errors import UsageError
from pipespan.record.context import attach, current_context, enter, leave
from pipespan.record.null import NULL_NODE, NullNode

if TYPE_CHECKING:
    from opentelemetry.context import Context

    from pipespan.record.node import Node

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


class Opener(Protocol):
    """Opens and closes the nodes of scopes."""

    def open(self, level: str, name: str, parent: Any, options: dict[str, Any]) -> Node | None:
        """Start a node below `parent`, None meaning the current one; None when nothing is recorded."""

    def close(self, node: Node, error: BaseException | None) -> None:
        """End `node`, which `error` left; never raises."""


class Scope:
    """One opening of a node, or a decorator that opens one at each call.

    Args:
        opener: gives the opener at the time of use, since decorators are made before anything is configured.
        level: pipeline, phase, step or substep.
        name: of the node; a decorator takes the function's name when there is none.
        parent: the node above; None means the current one.
        options: as documented with `pipespan.pipeline` and `pipespan.step`.
    """

    __slots__ = (
        "_before",
        "_context",
        "_entered",
        "_level",
        "_name",
        "_node",
        "_opener",
        "_options",
        "_parent",
    )

    def __init__(
        self, opener: Callable[[], Opener], level: str, name: str | None, parent: Any, options: dict[str, Any]
    ) -> None:
        if name is not None and not isinstance(name, str):
            raise UsageError(f"a {level} needs a name of type str, not {name!r}; write {level}(str(...))")
        self._opener = opener
        self._level = level
        self._name = name
        self._parent = parent
        self._options = options
        self._node: Node | None = None
        self._entered: Opener | None = None

    def __enter__(self) -> Node:
        if self._name is None:
            raise UsageError(f"a {self._level} needs a name; write `with {self._level}('name')`")
        if self._entered is not None:
            raise UsageError(f"{self._level} {self._name!r} is open already; make a new scope for each use")
        opener = self._opener()
        node = opener.open(self._level, self._name, self._parent, self._options)
        if node is None:
            return cast("Node", NULL_NODE)
        self._entered = opener
        self._node = node
        self._context = node.context
        self._before = current_context()
        attach(self._context)
        return node

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        node, opener = self._node, self._entered
        if node is not None and opener is not None:
            self._node = self._entered = None
            opener.close(node, error)
            leave(self._context, self._before)

    async def __aenter__(self) -> Node:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)

    def __call__(self, function: FunctionT) -> FunctionT:
        """Return `function` wrapped so that each call is a node."""
        if isinstance(function, staticmethod | classmethod):
            return cast("FunctionT", type(function)(self(function.__func__)))
        if not callable(function):
            raise UsageError(f"cannot decorate {function!r}; it is not a function")
        name = self._name or getattr(function, "__name__", type(function).__name__)

        def fresh() -> Scope:
            return Scope(self._opener, self._level, name, self._parent, self._options)

        return cast("FunctionT", _decorated(function, fresh))


def _decorated(function: Any, fresh: Callable[[], Scope]) -> Any:
    if inspect.isasyncgenfunction(function):

        @functools.wraps(function)
        def async_generator(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
            return _drive_async(fresh(), function(*args, **kwargs))

        return async_generator
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def coroutine(*args: Any, **kwargs: Any) -> Any:
            with fresh():
                return await function(*args, **kwargs)

        return coroutine
    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def generator(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
            return (yield from _drive(fresh(), function(*args, **kwargs)))

        return generator

    @functools.wraps(function)
    def plain(*args: Any, **kwargs: Any) -> Any:
        with fresh():
            return function(*args, **kwargs)

    return plain


class _Inside:
    """Makes a scope's node current only while the generator itself runs, not in its consumer between two items."""

    __slots__ = ("_before", "_context", "_scope")

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        node: Any = scope.__enter__()
        self._context: Context | None = None if isinstance(node, NullNode) else node.context
        self.suspend()

    def suspend(self) -> None:
        # The generator's context as it is now: it may stand inside of further scopes of its own.
        if self._context is not None:
            self._context = enter(self._scope._before)  # noqa: SLF001 - two halves of one thing

    def resume(self) -> None:
        if self._context is not None:
            self._scope._before = enter(self._context)  # noqa: SLF001

    def end(self, error: BaseException | None) -> None:
        self._scope.__exit__(None if error is None else type(error), error, None)
        if self._context is not None:
            enter(self._scope._before)  # noqa: SLF001 - whatever the generator left open


def _drive(scope: Scope, generator: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
    inside = _Inside(scope)
    step: Callable[[], Any] = functools.partial(next, generator)
    while True:
        inside.resume()
        try:
            item = step()
        except StopIteration as stop:
            inside.end(None)
            return stop.value
        except BaseException as error:
            inside.end(error)
            raise
        inside.suspend()
        try:
            sent = yield item
        except BaseException as error:  # noqa: BLE001 - thrown in by the consumer, for the generator to handle
            step = functools.partial(generator.throw, error)
        else:
            step = functools.partial(generator.send, sent)


async def _drive_async(scope: Scope, generator: AsyncGenerator[Any, Any]) -> AsyncGenerator[Any, Any]:
    """Do the same for async generators, which cannot delegate by `yield from`."""
    inside = _Inside(scope)
    step: Callable[[], Any] = generator.__anext__
    while True:
        inside.resume()
        try:
            item = await step()
        except StopAsyncIteration:
            inside.end(None)
            return
        except BaseException as error:
            inside.end(error)
            raise
        inside.suspend()
        try:
            sent = yield item
        except BaseException as error:  # noqa: BLE001 - thrown in by the consumer, for the generator to handle
            step = functools.partial(generator.athrow, error)
        else:
            step = functools.partial(generator.asend, sent)
