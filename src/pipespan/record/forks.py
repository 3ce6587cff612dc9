"""What is done around each fork, in one hook of Python's, which holds Ctrl-C back meanwhile.

Python drops what is raised in such a hook. A Ctrl-C that came in while one ran, be it ours or that of `logging`, would
be lost, and with it what the hook had left to do: to release a lock, for one. So SIGINT is noted as long as the hooks
run, and sent again when the fork is over. A handler of the program's own stays where it is.
"""

from __future__ import annotations

import os
import signal
import threading
import time
import weakref
from collections.abc import Callable
from types import FrameType, MethodType
from typing import Any, Final, cast

SEND_AGAIN_S: Final = 0.05
"""A moment after the fork, when whoever forked has noted the child's id, or it would be left alone."""

Method = Callable[[], Any]
_Handler = Callable[[int, FrameType | None], Any]
_Kept = tuple[weakref.ref[Any], Callable[[Any], Any]]


class Forks:
    """Calls methods around forks as long as their objects live; made once a process.

    As with `os.register_at_fork`, those before the fork are called last added first, the others in the order in which
    they were added.
    """

    def __init__(self) -> None:
        self._before: list[_Kept] = []
        self._in_parent: list[_Kept] = []
        self._in_child: list[_Kept] = []
        self._interrupt = _HeldInterrupt()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=self._call_before,
                after_in_parent=self._call_in_parent,
                after_in_child=self._call_in_child,
            )

    def add(
        self,
        *,
        before: Method | None = None,
        after_in_parent: Method | None = None,
        after_in_child: Method | None = None,
    ) -> None:
        """Call these bound methods, whose objects are not kept alive by it."""
        for kept, method in (
            (self._before, before),
            (self._in_parent, after_in_parent),
            (self._in_child, after_in_child),
        ):
            if method is not None:
                bound = cast("MethodType", method)
                kept[:] = [one for one in kept if one[0]() is not None]
                # No `WeakMethod`: it complains where the interpreter ends.
                kept.append((weakref.ref(bound.__self__), bound.__func__))

    def _call_before(self) -> None:
        if self._before:  # else pipespan is disabled, or not in use yet
            self._interrupt.hold()
        _call(self._before[::-1])

    def _call_in_parent(self) -> None:
        try:
            _call(self._in_parent)
        finally:
            self._interrupt.release()

    def _call_in_child(self) -> None:
        try:
            _call(self._in_child)
        finally:
            self._interrupt.release()


def _call(methods: list[_Kept]) -> None:
    """Call each, whatever the others raise; the last error is raised at the end, and Python reports it."""
    failed: BaseException | None = None
    for reference, function in methods.copy():
        try:
            found = reference()
            if found is not None:
                function(found)
        except BaseException as error:  # noqa: BLE001 - also what a signal handler of the program's raises in it
            failed = error
    if failed is not None:
        raise failed


class _HeldInterrupt:
    """A SIGINT that came in during a fork; only where it would raise `KeyboardInterrupt` in the thread that forks."""

    def __init__(self) -> None:
        self._noted_by: int | None = None
        # One and the same object for good, so that it is known again.
        self._note = self._note_signal

    def hold(self) -> None:
        """Note it from now on."""
        if _is_main_thread():
            self._noted_by = None
            self._change(signal.default_int_handler, self._note)

    def release(self) -> None:
        """Let it through from now on, and send again what came to this process meanwhile."""
        if not _is_main_thread():
            return
        if self._noted_by == os.getpid():
            _send_again()
        self._noted_by = None
        # Last of all: what came behind it would be dropped.
        self._change(self._note, signal.default_int_handler)
        if self._noted_by is not None:
            _send_again()

    def _change(self, before: _Handler, after: _Handler) -> None:
        """Let `after` handle it instead of `before`; what comes in the midst of it is noted too."""
        while True:
            try:
                if signal.getsignal(signal.SIGINT) is before:
                    signal.signal(signal.SIGINT, after)
                return
            except KeyboardInterrupt:
                self._noted_by = os.getpid()

    def _note_signal(self, number: int, frame: FrameType | None) -> None:
        # A child inherits what was noted before the fork, but it was its parent that was meant.
        self._noted_by = os.getpid()


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _send_again() -> None:
    main = threading.main_thread().ident

    def send() -> None:
        time.sleep(SEND_AGAIN_S)
        if main is not None:
            # To the thread: what it waits for by then is to be interrupted.
            signal.pthread_kill(main, signal.SIGINT)

    try:
        threading.Thread(target=send, name="pipespan-interrupt", daemon=True).start()
    except RuntimeError:  # no threads left: then as without us, Python reports what it drops
        signal.raise_signal(signal.SIGINT)


FORKS: Final = Forks()
