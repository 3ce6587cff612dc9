"""Names of nodes as paths: deterministic, so that resumed runs and history line up."""

from __future__ import annotations

import hashlib
import re
from typing import Final

MAX_NODE_ID_CHARS: Final = 255
"""Width of the column; a longer path is cut and closed by a digest of the whole."""

MAX_SEGMENT_CHARS: Final = 100
"""Longest name inside of a path; the whole name is kept in `node_name`."""

UNNAMED: Final = "unnamed"

_SEPARATOR: Final = "/"
_UNFIT: Final = re.compile(r"[\x00-\x20\x7f-\x9f\ud800-\udfff]+")
_DIGEST_CHARS: Final = 12


def is_plain(name: str) -> bool:
    """Tell whether `name` stands in a path as it is; most do, and they are told without a regular expression."""
    return (
        name.isprintable()
        and _SEPARATOR not in name
        and 0 < len(name.strip()) == len(name) <= MAX_SEGMENT_CHARS
    )


def segment_of(name: str) -> str:
    """Return `name` as one element of a path: no separator, no control characters, not empty, not long."""
    if is_plain(name):
        return name
    segment = _UNFIT.sub(" ", name).strip().replace(_SEPARATOR, ":")
    return _cut(segment or UNNAMED, MAX_SEGMENT_CHARS)


def child_id(parent_id: str | None, name: str, *, mark: str = "", repeat: int = 1) -> str:
    """Return the node id of a child.

    Args:
        parent_id: the parent's node id, None for a root.
        name: the child's name, as given.
        mark: tells apart what different processes add to one parent, such as `@r3`.
        repeat: the how-manieth child of that name and mark it is; from the second on it shows as `#2`.
    """
    segment = segment_of(name) + mark
    return joined(prefix_of(parent_id), segment if repeat <= 1 else f"{segment}#{repeat}")


def prefix_of(parent_id: str | None) -> str:
    """Return what the ids of all children of a parent start with; nothing for roots."""
    return "" if parent_id is None else f"{parent_id}{_SEPARATOR}"


def joined(prefix: str, segment: str) -> str:
    """Return the node id of a `segment` below a `prefix_of`, cut and closed by a digest where it is too long."""
    path = prefix + segment
    return path if len(path) <= MAX_NODE_ID_CHARS else _cut(path, MAX_NODE_ID_CHARS)


def stage_of(node_id: str | None) -> str | None:
    """Return the stage a node belongs to: the element below the root, None for the root itself."""
    if node_id is None:
        return None
    elements = node_id.split(_SEPARATOR, 2)
    return elements[1] if len(elements) > 1 else None


def _cut(text: str, width: int) -> str:
    if len(text) <= width:
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST_CHARS]
    return f"{text[: width - _DIGEST_CHARS - 1]}~{digest}"
