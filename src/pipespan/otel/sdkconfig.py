"""Makes SDK providers from `OTEL_*`, one signal at a time.

The SDK's own configurator makes and sets all three or none, which is of no use to a program that has one of
them already; and it leaves out the exporter when only an endpoint is given.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any, Final

from opentelemetry._logs import set_logger_provider
from opentelemetry.metrics import set_meter_provider
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import set_tracer_provider

from pipespan.model import semconv
from pipespan.model.redact import Redactor
from pipespan.otel.paced import PacedLogRecordProcessor, PacedSpanProcessor
from pipespan.otel.providers import Signal
from pipespan.otel.redacted import redacting, shown_attributes

_PROTOCOLS: Final[Mapping[Signal, str]] = {
    "traces": semconv.ENV_OTLP_TRACES_PROTOCOL,
    "logs": semconv.ENV_OTLP_LOGS_PROTOCOL,
    "metrics": semconv.ENV_OTLP_METRICS_PROTOCOL,
}
_OTLP_BY_PROTOCOL: Final = {"grpc": "otlp_proto_grpc", "http/protobuf": "otlp_proto_http"}
_BUILT_IN_SAMPLERS: Final = frozenset(
    {
        "always_on",
        "always_off",
        "parentbased_always_on",
        "parentbased_always_off",
        "traceidratio",
        "parentbased_traceidratio",
    }
)


class HashedResource(Resource):
    """A resource that remembers its hash: exporters ask for it with each record, and the SDK writes JSON for it."""

    def __init__(self, attributes: Any, schema_url: str | None = None) -> None:
        super().__init__(attributes, schema_url)
        self._hash = super().__hash__()

    def __eq__(self, other: object) -> bool:
        """Tell whether both say the same."""
        return self is other or super().__eq__(other)

    def __hash__(self) -> int:
        """Return the hash of an equal resource of the SDK."""
        return self._hash


def build_provider(
    signal: Signal,
    exporters: Sequence[str],
    environ: Mapping[str, str],
    program: str,
    redactor: Redactor | None = None,
) -> Any:
    """Return a provider with the named exporters, which is not the global one yet.

    Raises:
        LookupError: an exporter is not installed.
        Exception: whatever an exporter's constructor raises.
    """
    built = [_exporter_class(signal, name, environ)() for name in exporters]
    made = _resource(environ, program)
    attributes: Any = made.attributes
    if redactor is not None and redactor.is_on:
        built = [redacting(signal, exporter, redactor) for exporter in built]
        attributes = shown_attributes(attributes, redactor) or {}
    resource = HashedResource(attributes, made.schema_url)
    if signal == "traces":
        return _tracer_provider(built, resource, environ)
    if signal == "logs":
        return _logger_provider(built, resource, environ)
    return _meter_provider(built, resource, environ)


def set_global(signal: Signal, provider: Any) -> None:
    """Make `provider` the program's own."""
    if signal == "traces":
        set_tracer_provider(provider)
    elif signal == "logs":
        set_logger_provider(provider)
    else:
        set_meter_provider(provider)


def configure_from_file(path: str) -> None:
    """Have the SDK's declarative configuration make and set all providers.

    Raises:
        ImportError: the package for it is not installed.
    """
    # Optional, and not among our own dependencies.
    configuration: Any = importlib.import_module("opentelemetry.configuration")
    configuration.configure_sdk(configuration.load_config_file(path))


def _tracer_provider(exporters: Sequence[Any], resource: Resource, environ: Mapping[str, str]) -> Any:
    provider = TracerProvider(
        sampler=_sampler(environ),
        resource=resource,
        shutdown_on_exit=False,
        id_generator=_id_generator(environ),
        **_configurator("tracer", environ),
    )
    for exporter in exporters:
        provider.add_span_processor(PacedSpanProcessor(exporter, environ))
    return provider


def _logger_provider(exporters: Sequence[Any], resource: Resource, environ: Mapping[str, str]) -> Any:
    provider = LoggerProvider(resource=resource, shutdown_on_exit=False, **_configurator("logger", environ))
    for exporter in exporters:
        provider.add_log_record_processor(PacedLogRecordProcessor(exporter, environ))
    return provider


def _meter_provider(exporters: Sequence[Any], resource: Resource, environ: Mapping[str, str]) -> Any:
    readers = [
        exporter if isinstance(exporter, MetricReader) else PeriodicExportingMetricReader(exporter)
        for exporter in exporters
    ]
    extra = _configurator("meter", environ)
    return MeterProvider(metric_readers=readers, resource=resource, shutdown_on_exit=False, **extra)


def _configurator(kind: str, environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the argument by which the SDK's providers take the plugin that turns single scopes off."""
    name = environ.get(f"OTEL_PYTHON_{kind.upper()}_CONFIGURATOR", "").strip()
    return {f"_{kind}_configurator": _load(f"_opentelemetry_{kind}_configurator", name)} if name else {}


def _exporter_class(signal: Signal, name: str, environ: Mapping[str, str]) -> Any:
    if name == "otlp":
        protocol = environ.get(_PROTOCOLS[signal]) or environ.get(semconv.ENV_OTLP_PROTOCOL) or "grpc"
        if protocol.strip() not in _OTLP_BY_PROTOCOL:
            raise LookupError(f"unknown OTLP protocol {protocol!r}; known are {', '.join(_OTLP_BY_PROTOCOL)}")
        name = _OTLP_BY_PROTOCOL[protocol.strip()]
    return _load(f"opentelemetry_{signal}_exporter", name)


def _load(group: str, name: str) -> Any:
    for entry_point in entry_points(group=group, name=name):
        return entry_point.load()
    raise LookupError(f"nothing is installed that answers to {name!r} in {group}; install its package")


def _resource(environ: Mapping[str, str], program: str) -> Resource:
    is_named = environ.get(semconv.ENV_SERVICE_NAME) or semconv.SERVICE_NAME in environ.get(
        semconv.ENV_RESOURCE_ATTRIBUTES, ""
    )
    return Resource.create({} if is_named else {semconv.SERVICE_NAME: program})


def _sampler(environ: Mapping[str, str]) -> Any | None:
    """Return a sampler that only a plugin knows; the SDK picks its own ones itself."""
    name = environ.get(semconv.ENV_TRACES_SAMPLER, "").strip()
    if not name or name.lower() in _BUILT_IN_SAMPLERS:
        return None
    return _load("opentelemetry_traces_sampler", name)(environ.get(semconv.ENV_TRACES_SAMPLER_ARG))


def _id_generator(environ: Mapping[str, str]) -> Any | None:
    name = environ.get(semconv.ENV_ID_GENERATOR, "").strip()
    return _load("opentelemetry_id_generator", name)() if name and name != "random" else None
