"""Documents of two runs of one program, made equal but for what differs between any two runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

IDS = {"id", "experiment_id", "job_id", "trace_id", "span_id", "parent_job_id"}
TIMES = {
    "timestamp", "started_at", "ended_at", "start_time", "end_time", "heartbeat_at", "progress_at", "version",
    "process_started_at",
}  # fmt: skip
OF_THE_PROCESS = {"pid", "command"}
OF_THE_THREAD = {"thread.id", "thread.name"}


def plain(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document without ids, times and figures of the process, its lists in a fixed order."""
    lists = {name: value for name, value in document.items() if isinstance(value, list)}
    return {
        "experiment": _plain(document["experiment"]),
        **{name: sorted((_plain(row) for row in rows), key=_text) for name, rows in lists.items()},
    }


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in row.items() if key not in IDS | TIMES | OF_THE_PROCESS}
    if isinstance(kept.get("metadata"), dict):
        kept["metadata"] = {key: value for key, value in kept["metadata"].items() if key != "resources"}
    if isinstance(kept.get("context"), dict):
        kept["context"] = {key: value for key, value in kept["context"].items() if key not in OF_THE_THREAD}
    if "log_messages" in kept:
        kept["log_messages"] = sorted(kept["log_messages"])
    return kept


def ordered(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document with its lists in a fixed order, all else as it is."""
    return {
        name: sorted(value, key=_text) if isinstance(value, list) else value
        for name, value in document.items()
    }


def _text(row: Mapping[str, Any]) -> str:
    return json.dumps(row, sort_keys=True)
