"""What one request tells of who is above whom: enough for most spans to be put in their place at once.

The others are noted for the store, which knows the spans of other requests (`pipespan_link_spans_v1`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from pipespan.model.rows import EventRow, LogRow, NodeRow, SpanNote
from pipespan.model.status import NodeLevel
from pipespan.otlp.decoded import Decoded
from pipespan.store.copytext import encode_span

MAX_STEPS: Final = 64
"""So many spans that are no nodes are stepped over on the way up to the nearest node."""


@dataclass(slots=True)
class Family:
    """The spans of other programs of one experiment in one request.

    Attributes:
        roots: nodes without a span above.
        nodes: all other nodes with the span above.
        left_out: spans that a rule keeps out of the tree, with the span above.
        lines: nodes whose lines lack the level: span, span above, and what follows in the line.
        rows: nodes that are rows.
    """

    roots: set[str] = field(default_factory=set)
    nodes: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str | None] = field(default_factory=dict)
    lines: list[tuple[str, str, str]] = field(default_factory=list)
    rows: list[str] = field(default_factory=list)

    def leave_out(self, span_id: str, above: str | None) -> None:
        """Note a span that is no node; should others be named above it later, the same one stays in any order."""
        self.left_out[span_id] = max(self.left_out.get(span_id) or "", above or "") or None

    def put(self, span_id: str, above: str) -> None:
        """Note a node below another span, in the same way."""
        known = self.nodes.get(span_id)
        if known is None or known < above:
            self.nodes[span_id] = above

    def level_below(self, above: str) -> NodeLevel | None:
        """Return the level of nodes below a span; None when this request does not tell."""
        nodes, roots = self.nodes, self.roots
        if above in roots:
            return "phase"
        second = nodes.get(above)
        if second is None:
            return None
        if second in roots:
            return "step"
        third = nodes.get(second)
        # Whatever is above the third: it is a node, so that there are at least three above this one.
        return "substep" if third is not None and (third in roots or third in nodes) else None

    def nearest(self, span_id: str | None) -> str | None:
        """Return the nearest span that is not left out, from `span_id` upwards; None when there is none."""
        for _ in range(MAX_STEPS):
            if span_id is None or span_id not in self.left_out:
                break
            span_id = self.left_out[span_id]
        return span_id


def settle(decoded: Decoded, families: dict[str, Family]) -> None:
    """Give nodes their levels, records of spans that are no nodes their node, and note what the store has to place."""
    if not families:
        return
    for number, row in enumerate(decoded.rows):
        if isinstance(row, NodeRow):
            family = families.get(row.experiment_id)
            if family is not None and row.node_id in family.nodes:
                level = family.level_below(family.nodes[row.node_id]) or "substep"
                decoded.rows[number] = row._replace(node_level=level)
        elif isinstance(row, LogRow | EventRow):
            family = families.get(row.experiment_id)
            if family is not None and row.node_id in family.left_out:
                decoded.rows[number] = row._replace(node_id=family.nearest(row.node_id))
    for experiment_id, family in families.items():
        _write(decoded, experiment_id, family)


def _write(decoded: Decoded, experiment_id: str, family: Family) -> None:
    lines, notes = decoded.lines.setdefault(NodeRow, []), decoded.span_lines
    nodes, levels = family.nodes, {above: family.level_below(above) for above in set(family.nodes.values())}
    for span_id, above, rest in family.lines:
        level = levels[nodes[span_id]]
        if level is None:
            level = "substep"
            notes.append(encode_span(SpanNote(experiment_id, span_id, nodes[span_id], is_node=True)))
        lines.append(f"{experiment_id}\t{span_id}\t{level}\t{above}\t{rest}".encode())
    for span_id in family.rows:
        if levels[nodes[span_id]] is None:
            notes.append(encode_span(SpanNote(experiment_id, span_id, nodes[span_id], is_node=True)))
    for span_id, left_above in family.left_out.items():
        notes.append(encode_span(SpanNote(experiment_id, span_id, left_above, is_node=False)))
