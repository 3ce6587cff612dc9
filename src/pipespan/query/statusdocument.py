"""What `pipespan status --json` prints of a view."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pipespan.model.monitoring import Monitoring
from pipespan.model.status import BROKEN_OFF
from pipespan.query.deaths import endings_document
from pipespan.query.document import to_json
from pipespan.query.status import NodeView, StatusView


def status_document(view: StatusView, *, depth: int | None = None) -> dict[str, Any]:
    """Return `view` as the object that `pipespan status --json` prints.

    Args:
        view: what to tell.
        depth: leave out nodes deeper than this, roots being 1; None takes all.
    """
    return {
        "experiment": to_json(view.experiment)
        | {"error_count": view.error_count, "duration_s": view.duration_s, "eta_s": view.eta_s},
        "nodes": [_node_document(node) for node in _down_to(view.roots, depth)],
        "jobs": to_json(view.jobs),
        "endings": endings_document(view.endings),
        "health": view.health.word,
        "health_detail": to_json(view.health),
        "monitoring": _monitoring_document(view.monitoring),
        "seen_at": to_json(view.seen_at),
    }


def _monitoring_document(figures: Monitoring | None) -> dict[str, Any] | None:
    return None if figures is None else figures.evidence() | {"cpu_share": round(figures.cpu_share, 5)}


def _node_document(node: NodeView) -> dict[str, Any]:
    document: dict[str, Any] = to_json(node.record)
    if node.record.status in BROKEN_OFF and not node.is_measurable:
        document["progress_percent"] = None
    return document | {
        "duration_s": node.duration_s,
        "rate_per_s": node.rate_per_s,
        "eta_s": node.eta_s,
        "error_count": node.error_count,
        "errors_within": node.errors_within,
    }


def _down_to(nodes: Sequence[NodeView], depth: int | None) -> Iterator[NodeView]:
    waiting = [(node, 1) for node in reversed(nodes)]
    while waiting:
        node, level = waiting.pop()
        yield node
        if depth is None or level < depth:
            waiting.extend((child, level + 1) for child in reversed(node.children))
