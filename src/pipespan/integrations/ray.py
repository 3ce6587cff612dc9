"""Ray tasks and actors as nodes of the tree that they were called from.

`remote` stands in the place of `ray.remote`: what it makes takes the headers of its caller along as one more keyword
argument, and its function, or each method of its actor, works as a step below that caller.
"""

from __future__ import annotations

import functools
import inspect
import uuid
from collections.abc import Callable
from typing import Any, Final

import ray

from pipespan.integrations.work import Piece, hand_over, key_of, serve_others

_CARRIED: Final = "_pipespan"
"""Keyword argument with the headers, and with the id of the call."""

_ID: Final = "call-id"


def remote(*args: Any, **options: Any) -> Any:
    """Do what `ray.remote` does, and have each call appear as a step below the node that it is made at.

    A decorator of functions and of classes, bare or with Ray's options; also a function of either. What it makes has
    `remote` and `options` as Ray's own; a call of it is pending in the tree until Ray starts it.
    """
    if len(args) == 1 and not options and callable(args[0]):
        return _made(args[0], {})
    return lambda made_of: _made(made_of, options)


def _made(made_of: Any, options: dict[str, Any]) -> Any:
    as_ray_does: Callable[[Any], Any] = ray.remote(**options) if options else ray.remote
    if inspect.isclass(made_of):
        return TracedActorClass(as_ray_does(_traced_class(made_of)), made_of.__name__, _methods(made_of))
    return TracedCall(as_ray_does(_traced(made_of, made_of.__name__)), made_of.__name__)


def _carry(name: str, kwargs: dict[str, Any]) -> dict[str, Any]:
    call_id = uuid.uuid4().hex
    headers = hand_over(name, key_of(name, call_id), engine="ray")
    return {**kwargs, _CARRIED: {**headers, _ID: call_id}} if headers else kwargs


class TracedCall:
    """A remote function, or a method of an actor, whose calls are steps."""

    def __init__(self, called: Any, name: str) -> None:
        self._called = called
        self._name = name

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """Call it, as `remote` of a Ray function or method does."""
        return self._called.remote(*args, **_carry(self._name, kwargs))

    def options(self, **options: Any) -> TracedCall:
        """Return it with other options, as `options` of a Ray function or method does."""
        return TracedCall(self._called.options(**options), self._name)

    def __getattr__(self, name: str) -> Any:
        if name == "_called":  # while it is unpickled there is none yet
            raise AttributeError(name)
        return getattr(self._called, name)


class TracedActorClass:
    """An actor class whose actors' calls are steps."""

    def __init__(self, actor_class: Any, name: str, methods: frozenset[str]) -> None:
        self._actor_class = actor_class
        self._name = name
        self._methods = methods

    def remote(self, *args: Any, **kwargs: Any) -> TracedActor:
        """Create an actor; see `ray.actor.ActorClass.remote`."""
        return TracedActor(self._actor_class.remote(*args, **kwargs), self._name, self._methods)

    def options(self, **options: Any) -> TracedActorClass:
        """Return it with other options; see `ray.actor.ActorClass.options`."""
        return TracedActorClass(self._actor_class.options(**options), self._name, self._methods)


class TracedActor:
    """A handle of an actor; it can be passed to other tasks and actors as Ray's own can.

    `handle` is Ray's own, for `ray.kill` and the like.
    """

    def __init__(self, handle: Any, name: str, methods: frozenset[str]) -> None:
        self.handle = handle
        self._name = name
        self._methods = methods

    def __reduce__(self) -> tuple[Any, ...]:
        return (TracedActor, (self.handle, self._name, self._methods))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        method = getattr(self.handle, name)
        return TracedCall(method, f"{self._name}.{name}") if name in self._methods else method


def _methods(cls: type) -> frozenset[str]:
    found = inspect.getmembers(cls, inspect.isfunction)
    return frozenset(name for name, _ in found if not name.startswith("__"))


def _traced_class(cls: type) -> type:
    """Return a subclass of `cls` whose own methods can be called with headers."""
    methods = {name: _traced(getattr(cls, name), f"{cls.__name__}.{name}") for name in _methods(cls)}
    body = {**methods, "__module__": cls.__module__, "__doc__": cls.__doc__, "__qualname__": cls.__qualname__}
    return type(cls.__name__, (cls,), body)


def _traced(function: Any, name: str) -> Any:
    """Return `function` such that a call with headers is a step below the node that they lead to."""
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        traced = _traced_generator(function, name)
    elif inspect.iscoroutinefunction(function):
        traced = _traced_coroutine(function, name)
    else:
        traced = _traced_plain(function, name)
    functools.update_wrapper(traced, function)
    # Ray checks calls by the signature.
    known = inspect.signature(function)
    carried = inspect.Parameter(_CARRIED, inspect.Parameter.KEYWORD_ONLY, default=None)
    listed = list(known.parameters.values())
    is_open = bool(listed) and listed[-1].kind is inspect.Parameter.VAR_KEYWORD
    listed.insert(len(listed) - 1 if is_open else len(listed), carried)
    traced.__signature__ = known.replace(parameters=listed)
    del traced.__wrapped__
    return traced


def _traced_plain(function: Any, name: str) -> Any:
    def traced(*args: Any, **kwargs: Any) -> Any:
        piece = _piece(name, kwargs.pop(_CARRIED, None))
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            piece.end(error)
            raise
        piece.end()
        return result

    return traced


def _traced_coroutine(function: Any, name: str) -> Any:
    async def traced(*args: Any, **kwargs: Any) -> Any:
        piece = _piece(name, kwargs.pop(_CARRIED, None))
        try:
            result = await function(*args, **kwargs)
        except BaseException as error:
            piece.end(error)
            raise
        piece.end()
        return result

    return traced


def _traced_generator(function: Any, name: str) -> Any:
    """Return a generator function whose node lasts as long as its generator; what it yields is handed on as it is."""
    if inspect.isasyncgenfunction(function):

        async def traced_async(*args: Any, **kwargs: Any) -> Any:
            piece = _piece(name, kwargs.pop(_CARRIED, None))
            try:
                async for item in function(*args, **kwargs):
                    yield item
            except BaseException as error:
                piece.end(error)
                raise
            piece.end()

        return traced_async

    def traced(*args: Any, **kwargs: Any) -> Any:
        piece = _piece(name, kwargs.pop(_CARRIED, None))
        try:
            result = yield from function(*args, **kwargs)
        except BaseException as error:
            piece.end(error)
            raise
        piece.end()
        return result

    return traced


def _piece(name: str, carried: dict[str, str] | None) -> Piece:
    """Open the node of a call; a call without headers is nobody's, and not recorded."""
    headers = carried or {}
    piece = Piece(headers, name, key_of(name, headers.get(_ID, "")), engine="ray", **_where())
    if carried is None:
        return piece
    serve_others("ray")
    return piece.start()


def _where() -> dict[str, Any]:
    try:
        context = ray.get_runtime_context()
        return {"worker": context.get_worker_id(), "ray_node": context.get_node_id()}
    except Exception:  # noqa: BLE001 - outside of a worker
        return {}
