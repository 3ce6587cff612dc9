"""Spans of pipespan's own nodes as rows: the final state, for whom its events do not reach."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pipespan.model import semconv
from pipespan.model.clean import clean_value
from pipespan.model.otelrows import text_of
from pipespan.model.rows import ExperimentRow, NodeRow, Row
from pipespan.otlp.origin import Origin


def own_rows(node: NodeRow, attributes: Mapping[str, Any], origin: Origin) -> list[Row]:
    """Return the rows that the span of `node` tells of.

    The span of a run's root also ends the experiment and the job. The events of the process say the same and more,
    and are newer: they win, whichever comes first.

    Args:
        node: the row of the span's node.
        attributes: of the span.
        origin: the process that sent it.
    """
    if node.parent_id is not None or node.node_level != "pipeline":
        return [node]
    rows: list[Row] = [_experiment(node, attributes, origin)]
    if node.job_id is not None:
        rows.append(origin.ended_job(node))
    return [*rows, node]


def _experiment(root: NodeRow, attributes: Mapping[str, Any], origin: Origin) -> ExperimentRow:
    return ExperimentRow(
        id=root.experiment_id, name=root.node_name, status=root.status,
        params=_params(attributes.get(semconv.EXPERIMENT_PARAMS)),
        tags=_tags(attributes.get(semconv.EXPERIMENT_TAGS)), command=None,
        host=text_of(origin.attributes.get("host.name")), user_name=None, git_commit=None,
        started_at=root.start_time or 0, ended_at=root.end_time, trace_id=root.trace_id, attempt=root.attempt,
        version=root.version,
    )  # fmt: skip


def _params(value: Any) -> Mapping[str, Any]:
    try:
        found = json.loads(value) if isinstance(value, str) else None
    except (ValueError, RecursionError):
        return {}
    return clean_value(found) if isinstance(found, dict) else {}


def _tags(value: Any) -> tuple[str, ...]:
    return tuple(str(tag) for tag in value) if isinstance(value, list | tuple) else ()
