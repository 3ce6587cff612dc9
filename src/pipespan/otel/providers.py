"""What OpenTelemetry there is in this process for each signal, and how pipespan joins it.

A provider of the SDK that the program has set is joined, also one that stands behind another's (Logfire's). Where there
is none and the environment asks for OpenTelemetry, one is made from `OTEL_*` and set. A foreign provider stays the
program's own: what the environment asks for is then made for pipespan alone. Nothing of the SDK is
imported before the answer needs it: a program that does not use OpenTelemetry pays neither its time nor its
memory.
"""

from __future__ import annotations

import atexit
import logging
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from opentelemetry.trace import get_tracer_provider

from pipespan.model import semconv
from pipespan.model.redact import Redactor

Signal = Literal["traces", "logs", "metrics"]

SIGNALS: Final[tuple[Signal, ...]] = ("metrics", "traces", "logs")
"""In the order in which providers are made: the SDK measures the later ones by the meter provider."""

_EXPORTERS: Final[Mapping[Signal, str]] = {
    "traces": semconv.ENV_TRACES_EXPORTER,
    "logs": semconv.ENV_LOGS_EXPORTER,
    "metrics": semconv.ENV_METRICS_EXPORTER,
}
_ENDPOINTS: Final[Mapping[Signal, str]] = {
    "traces": semconv.ENV_OTLP_TRACES_ENDPOINT,
    "logs": semconv.ENV_OTLP_LOGS_ENDPOINT,
    "metrics": semconv.ENV_OTLP_METRICS_ENDPOINT,
}
_SDK_MODULES: Final[Mapping[Signal, tuple[str, str]]] = {
    "traces": ("opentelemetry.sdk.trace", "TracerProvider"),
    "logs": ("opentelemetry.sdk._logs", "LoggerProvider"),
    "metrics": ("opentelemetry.sdk.metrics", "MeterProvider"),
}
_NAMED: Final[Mapping[Signal, str]] = {
    "traces": semconv.ENV_TRACER_PROVIDER,
    "logs": semconv.ENV_LOGGER_PROVIDER,
    "metrics": semconv.ENV_METER_PROVIDER,
}
"""Variables that name an entry point of which the API makes the provider when it is first asked for one."""

_PROXIES: Final = frozenset(
    {"ProxyTracerProvider", "ProxyLoggerProvider", "_ProxyMeterProvider", "_ProxyLoggerProvider"}
)
"""What the API itself hands out while nobody has set a provider; other packages have classes of the same names."""

_log = logging.getLogger(semconv.SCOPE)


@dataclass(frozen=True, slots=True)
class Providers:
    """The SDK providers that pipespan has joined; None for a signal that has none.

    Attributes:
        owned: those that were made here, which nobody else flushes or shuts down.
    """

    tracer: Any = None
    logger: Any = None
    meter: Any = None
    owned: tuple[OwnedProvider, ...] = field(default=())

    def flush(self) -> Pending:
        """Have the owned ones begin to deliver what they hold."""
        return Pending([provider.begin_flush() for provider in self.owned])

    def shutdown(self) -> Pending:
        """Begin to flush and close the owned ones, which take nothing afterwards."""
        return Pending([provider.begin_shutdown() for provider in self.owned])


@dataclass(frozen=True, slots=True)
class Pending:
    """What was begun; others need not wait for it, since a dead backend holds it up."""

    ends: Sequence[threading.Event]

    def wait(self, timeout_s: float) -> bool:
        """Wait for all of it; return whether it was done in time."""
        deadline = time.monotonic() + timeout_s
        in_time = [end.wait(max(0.0, deadline - time.monotonic())) for end in self.ends]
        return all(in_time)


class OwnedProvider:
    """A provider that was made here, with the thread that flushes and closes it.

    The SDK waits for dead collectors far longer than asked (6 to 30 s per signal), so both run in a thread
    that can be left behind. The thread exists from the beginning, since Python 3.12 starts none at exit.
    """

    def __init__(self, provider: Any) -> None:
        self.provider = provider
        self._start()

    def begin_flush(self) -> threading.Event:
        """Begin to flush; the event tells the end."""
        return self._begin(self.provider.force_flush)

    def begin_shutdown(self) -> threading.Event:
        """Begin to shut down, which flushes first; the event tells the end."""
        return self._begin(self.provider.shutdown)

    def _start(self) -> None:
        self._pid = os.getpid()
        self._work: queue.SimpleQueue[tuple[Callable[[], Any], threading.Event]] = queue.SimpleQueue()
        name = f"{semconv.OWN_THREAD_PREFIX}otel-{type(self.provider).__name__}"
        threading.Thread(target=_work_off, args=(self._work,), name=name, daemon=True).start()

    def _begin(self, action: Callable[[], Any]) -> threading.Event:
        end = threading.Event()
        try:
            if self._pid != os.getpid():  # a forked child has no threads but its main one
                self._start()
        except RuntimeError:  # and at exit none can be started any more
            return end
        self._work.put((action, end))
        return end


def _work_off(work: queue.SimpleQueue[tuple[Callable[[], Any], threading.Event]]) -> None:
    while True:
        action, end = work.get()
        try:
            action()
        except Exception:  # noqa: BLE001 - exporters are third-party code
            _log.debug("an OpenTelemetry provider could not be flushed or shut down", exc_info=True)
        end.set()


def exporters_asked(signal: Signal, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of the exporters that the environment asks for; an endpoint alone means `otlp`."""
    names = environ.get(_EXPORTERS[signal], "").strip()
    if names:
        is_none = names.lower() == "none"
        return () if is_none else tuple(name.strip() for name in names.split(",") if name.strip())
    if environ.get(semconv.ENV_OTLP_ENDPOINT) or environ.get(_ENDPOINTS[signal]):
        return ("otlp",)
    return ()


def join_providers(environ: Mapping[str, str], program: str, redactor: Redactor | None = None) -> Providers:
    """Join or make the providers of this process; never raises.

    Args:
        environ: the environment, of which `OTEL_*` is looked at. The SDK reads its own settings itself.
        program: names the service when the environment does not.
        redactor: hides secrets in what providers that are made here export, whoever made it.
    """
    if environ.get(semconv.ENV_SDK_DISABLED, "").strip().lower() == "true":
        return Providers()
    try:
        return _join(environ, program, redactor)
    except Exception:  # noqa: BLE001 - the SDK and its plugins; the pipeline runs without them
        _log.warning("OpenTelemetry could not be set up; nothing is exported", exc_info=True)
        return Providers()


def _join(environ: Mapping[str, str], program: str, redactor: Redactor | None) -> Providers:
    owned: list[OwnedProvider] = []
    if environ.get(semconv.ENV_CONFIG_FILE) and all(_is_unset(signal) for signal in SIGNALS):
        from pipespan.otel import sdkconfig  # noqa: PLC0415 - imports the SDK

        sdkconfig.configure_from_file(environ[semconv.ENV_CONFIG_FILE])
        owned += [_own(found) for signal in SIGNALS if (found := _joinable(signal, environ)) is not None]
    joined = {signal: _join_signal(signal, environ, program, owned, redactor) for signal in SIGNALS}
    return Providers(
        tracer=joined["traces"], logger=joined["logs"], meter=joined["metrics"], owned=tuple(owned)
    )


def _join_signal(
    signal: Signal,
    environ: Mapping[str, str],
    program: str,
    owned: list[OwnedProvider],
    redactor: Redactor | None,
) -> Any | None:
    current = _joinable(signal, environ)
    if current is not None:
        return current
    exporters = exporters_asked(signal, environ)
    if not exporters:
        return None
    from pipespan.otel import sdkconfig  # noqa: PLC0415 - imports the SDK

    try:
        provider = sdkconfig.build_provider(signal, exporters, environ, program, redactor)
    except Exception as error:  # noqa: BLE001 - a missing exporter must not stop the pipeline
        _log.warning("OpenTelemetry %s are not exported: %s", signal, error)
        return None
    if _is_unset(signal):
        sdkconfig.set_global(signal, provider)
    owned.append(_own(provider))
    return provider


def _own(provider: Any) -> OwnedProvider:
    # One exit hook of ours instead of one per provider, each with its own idea of a timeout.
    atexit.unregister(provider.shutdown)
    return OwnedProvider(provider)


def _current(signal: Signal) -> Any:
    if signal == "traces":
        return get_tracer_provider()
    if signal == "logs":
        from opentelemetry._logs import get_logger_provider  # noqa: PLC0415 - only who uses them pays for them

        return get_logger_provider()
    from opentelemetry.metrics import get_meter_provider  # noqa: PLC0415 - as above

    return get_meter_provider()


def _is_unset(signal: Signal) -> bool:
    kind = type(_current(signal))
    return kind.__name__ in _PROXIES and kind.__module__.startswith("opentelemetry.")


def _joinable(signal: Signal, environ: Mapping[str, str]) -> Any | None:
    """Return the provider of the SDK that is in use; None when there is none."""
    if _SDK_MODULES[signal][0] not in sys.modules and not environ.get(_NAMED[signal]):
        return None
    provider = _current(signal)
    if _is_sdk(signal, provider):
        return provider
    # Logfire sets providers of its own that hand on to one of the SDK, which it exchanges when it is configured anew.
    behind = getattr(provider, "provider", None)
    return behind if _is_sdk(signal, behind) else None


def _is_sdk(signal: Signal, provider: Any) -> bool:
    # A provider of the SDK cannot exist without its module having been imported by the program.
    module_name, class_name = _SDK_MODULES[signal]
    module = sys.modules.get(module_name)
    return module is not None and isinstance(provider, getattr(module, class_name))
