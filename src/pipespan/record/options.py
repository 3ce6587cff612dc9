"""The options of scopes, checked at once: a wrong one is the programmer's error and is told with the remedy."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from pipespan.errors import UsageError
from pipespan.model.ids import MAX_NODE_ID_CHARS


@dataclass(frozen=True, slots=True)
class NodeOptions:
    """Options of phase, step and substep; see `pipespan.step` for their meaning."""

    total: int | None = None
    unit: str | None = None
    weight: float = 1.0
    key: str | None = None
    metadata: Mapping[str, Any] | None = None
    expect_progress_every: float | None = None


@dataclass(frozen=True, slots=True)
class PipelineOptions:
    """Options of a pipeline; see `pipespan.pipeline` for their meaning."""

    params: Mapping[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    experiment_id: str | None = None
    total: int | None = None
    unit: str | None = None
    expect_progress_every: float | None = None

    def for_node(self) -> NodeOptions:
        """Return what the pipeline's node takes of them."""
        metadata = {"params": dict(self.params)} if self.params else None
        return NodeOptions(
            total=self.total,
            unit=self.unit,
            metadata=metadata,
            expect_progress_every=self.expect_progress_every,
        )


NO_OPTIONS = NodeOptions()


def node_options(level: str, given: dict[str, Any]) -> NodeOptions:
    """Return the checked options of a phase, step or substep.

    Raises:
        UsageError: an option is unknown or has a value that can never work.
    """
    if not given:
        return NO_OPTIONS
    _refuse_unknown(level, given, NodeOptions)
    options = NodeOptions(**given)
    if not _is_weight(given.get("weight", 1.0)):
        raise UsageError(f"weight must be a number >= 0, not {options.weight!r}; 1 is the usual weight")
    key: Any = options.key
    if key is not None and not (isinstance(key, str) and 0 < len(key) <= MAX_NODE_ID_CHARS):
        raise UsageError(
            f"key must be a str of 1 to {MAX_NODE_ID_CHARS} characters, not {key!r}; write key=str(...)"
        )
    metadata: Any = options.metadata
    if metadata is not None and not isinstance(metadata, Mapping):
        raise UsageError(
            f"metadata must be a mapping of names to values, not {metadata!r}; write metadata={{'a': 1}}"
        )
    return replace(
        options,
        total=_whole(level, options.total),
        unit=_unit(level, options.unit),
        weight=float(options.weight),
        expect_progress_every=_patience(level, options.expect_progress_every),
    )


def pipeline_options(given: dict[str, Any]) -> PipelineOptions:
    """Return the checked options of a pipeline.

    Raises:
        UsageError: an option is unknown or has a value that can never work.
    """
    if not given:
        return PipelineOptions()
    _refuse_unknown("pipeline", given, PipelineOptions)
    params, tags = given.get("params"), given.get("tags") or ()
    if params is not None and not isinstance(params, Mapping):
        raise UsageError(
            f"params must be a mapping of names to values, not {params!r}; write params={{'lr': 0.1}}"
        )
    if isinstance(tags, str) or not isinstance(tags, Iterable):
        raise UsageError(f"tags must be a list of str, not {tags!r}; write tags=[{tags!r}]")
    return PipelineOptions(
        params=dict(params or {}),
        tags=tuple(str(tag) for tag in tags),
        experiment_id=_uuid(given.get("experiment_id")),
        total=_whole("pipeline", given.get("total")),
        unit=_unit("pipeline", given.get("unit")),
        expect_progress_every=_patience("pipeline", given.get("expect_progress_every")),
    )


def _is_weight(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and value >= 0


def _refuse_unknown(level: str, given: dict[str, Any], options: type[NodeOptions | PipelineOptions]) -> None:
    known = [one.name for one in fields(options)]
    for name in given:
        if name not in known:
            raise UsageError(f"{level} has no option {name!r}; it has {', '.join(known)}")


def _unit(level: str, unit: Any) -> str | None:
    if unit is not None and not isinstance(unit, str):
        raise UsageError(f"unit of a {level} must be a str, not {unit!r}; it is a word such as 'files'")
    return unit


def _whole(level: str, total: Any) -> int | None:
    if total is None:
        return None
    try:
        number = int(total)
    except (TypeError, ValueError, OverflowError) as error:
        raise UsageError(
            f"total of a {level} must be a whole number, not {total!r}; leave it out when unknown"
        ) from error
    return min(max(number, 0), 2**63 - 1)


def _patience(level: str, seconds: Any) -> float | None:
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < math.inf:
        raise UsageError(
            f"expect_progress_every of a {level} must be seconds > 0, not {seconds!r}; leave it out to have it learnt"
        )
    return float(seconds)


def _uuid(value: Any) -> str | None:
    if value is None:
        return None
    try:
        return str(uuid.UUID(str(value)))
    except ValueError as error:
        raise UsageError(f"experiment_id must be a UUID, not {value!r}; make one by uuid.uuid4()") from error
