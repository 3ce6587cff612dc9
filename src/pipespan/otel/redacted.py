"""Exporters that hide secrets in what they hand on: for providers that are made here, whoever's telemetry it is.

They work in the exporters' own threads. What has nothing to hide is handed on as it is; of the rest a copy is made,
because other processors hold the same objects.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from opentelemetry.sdk._logs.export import LogRecordExporter
from opentelemetry.sdk.metrics.export import MetricExporter, MetricReader, MetricsData
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.trace import Link
from opentelemetry.trace import Status as SpanStatus

from pipespan.model.redact import Redactor
from pipespan.otel.bridged import BridgedRecord


def redacting(signal: str, exporter: Any, redactor: Redactor) -> Any:
    """Return `exporter` with secrets hidden in front of it; a reader that is asked for metrics is left alone."""
    if signal == "traces":
        return RedactingSpanExporter(exporter, redactor)
    if signal == "logs":
        return RedactingLogExporter(exporter, redactor)
    return exporter if isinstance(exporter, MetricReader) else RedactingMetricExporter(exporter, redactor)


def shown_attributes(attributes: Mapping[str, Any] | None, redactor: Redactor) -> dict[str, Any] | None:
    """Return attributes with secrets hidden, None when there are none."""
    if attributes is None:
        return None
    shown = redactor.value(dict(attributes))
    return shown if isinstance(shown, dict) else dict(attributes)


def _differ(shown: Mapping[str, Any] | None, attributes: Mapping[str, Any] | None) -> bool:
    return shown is not None and (
        len(shown) != len(attributes or {})
        or any((attributes or {}).get(key) is not value for key, value in shown.items())
    )


class _Shown(Sequence[Any]):
    """A batch whose records lose their secrets when the exporter comes to them, one by one."""

    def __init__(self, batch: Sequence[Any], shown: Callable[[Any], Any]) -> None:
        self._batch = batch
        self._shown = shown

    def __len__(self) -> int:
        return len(self._batch)

    def __getitem__(self, index: Any) -> Any:
        found = self._batch[index]
        return [self._shown(one) for one in found] if isinstance(index, slice) else self._shown(found)

    def __iter__(self) -> Iterator[Any]:
        return map(self._shown, self._batch)


class RedactingSpanExporter(SpanExporter):
    """Hides secrets in names, attributes, events, links and descriptions of spans."""

    def __init__(self, inner: SpanExporter, redactor: Redactor) -> None:
        self.inner = inner
        self._redactor = redactor

    def export(self, spans: Sequence[ReadableSpan]) -> Any:
        """Export `spans` without their secrets."""
        return self.inner.export(_Shown(spans, self._shown))

    def _shown(self, span: ReadableSpan) -> ReadableSpan:
        redactor = self._redactor
        name = redactor.text(span.name)
        attributes = shown_attributes(span.attributes, redactor)
        events = [self._event(event) for event in span.events]
        links = [self._link(link) for link in span.links]
        description = span.status.description
        status = span.status
        if description is not None and (text := redactor.text(description)) is not description:
            status = SpanStatus(status.status_code, text)
        is_same = (
            name is span.name
            and status is span.status
            and not _differ(attributes, span.attributes)
            and all(new is old for new, old in zip(events, span.events, strict=True))
            and all(new is old for new, old in zip(links, span.links, strict=True))
        )
        if is_same:
            return span
        return ReadableSpan(
            name=name, context=span.context, parent=span.parent, resource=span.resource, attributes=attributes,
            events=events, links=links, kind=span.kind, status=status, start_time=span.start_time,
            end_time=span.end_time, instrumentation_scope=span.instrumentation_scope,
        )  # fmt: skip

    def _event(self, event: Event) -> Event:
        attributes = shown_attributes(event.attributes, self._redactor)
        name = self._redactor.text(event.name)
        if name is event.name and not _differ(attributes, event.attributes):
            return event
        return Event(name, attributes, event.timestamp)

    def _link(self, link: Link) -> Link:
        attributes = shown_attributes(link.attributes, self._redactor)
        return Link(link.context, attributes) if _differ(attributes, link.attributes) else link

    def shutdown(self) -> None:
        """Shut the exporter down."""
        self.inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Flush the exporter."""
        return self.inner.force_flush(timeout_millis)


class RedactingLogExporter(LogRecordExporter):
    """Hides secrets in bodies and attributes of records; those of pipespan's own bridge have passed already."""

    def __init__(self, inner: LogRecordExporter, redactor: Redactor) -> None:
        self.inner = inner
        self._redactor = redactor

    def export(self, batch: Sequence[Any]) -> Any:
        """Export `batch` without its secrets."""
        return self.inner.export(_Shown(batch, self._shown))

    def _shown(self, readable: Any) -> Any:
        record = readable.log_record
        if isinstance(record, BridgedRecord):
            return readable
        attributes = shown_attributes(record.attributes, self._redactor)
        body = record.body
        if isinstance(body, str | Mapping | list | tuple):
            body = self._redactor.value(body)
        if body is record.body and not _differ(attributes, record.attributes):
            return readable
        shown = copy.copy(record)
        shown.body, shown.attributes = body, attributes
        return dataclasses.replace(readable, log_record=shown)

    def shutdown(self) -> None:
        """Shut the exporter down."""
        self.inner.shutdown()  # type: ignore[no-untyped-call] # as the SDK has it

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Flush the exporter."""
        return bool(self.inner.force_flush(timeout_millis))


class RedactingMetricExporter(MetricExporter):
    """Hides secrets in the attributes of measurements."""

    def __init__(self, inner: MetricExporter, redactor: Redactor) -> None:
        # What a reader asks an exporter for; the SDK has no public names for them.
        super().__init__(
            getattr(inner, "_preferred_temporality", None), getattr(inner, "_preferred_aggregation", None)
        )
        self.inner = inner
        self._redactor = redactor

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> Any:
        """Export `metrics_data` without its secrets."""
        return self.inner.export(self._shown(metrics_data), timeout_millis, **kwargs)

    def _shown(self, value: Any) -> Any:
        """Return the value itself, or a copy of it where something below it is to be hidden."""
        if isinstance(value, list | tuple):
            items = [self._shown(item) for item in value]
            return value if all(new is old for new, old in zip(items, value, strict=True)) else items
        if not dataclasses.is_dataclass(value) or isinstance(value, type):
            return value
        changed: dict[str, Any] = {}
        for name in ("resource_metrics", "scope_metrics", "metrics", "data", "data_points"):
            inner = getattr(value, name, None)
            if inner is not None and (shown := self._shown(inner)) is not inner:
                changed[name] = shown
        attributes = getattr(value, "attributes", None)
        if isinstance(attributes, Mapping):
            clean = shown_attributes(attributes, self._redactor)
            if _differ(clean, attributes):
                changed["attributes"] = clean
        return dataclasses.replace(value, **changed) if changed else value

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Flush the exporter."""
        return self.inner.force_flush(timeout_millis)

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """Shut the exporter down."""
        self.inner.shutdown(timeout_millis, **kwargs)
