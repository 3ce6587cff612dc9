"""Which spans of other origin become nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from pipespan.errors import UsageError


@dataclass(frozen=True, slots=True)
class _Pattern:
    is_exclusion: bool
    key: str | None
    value: str

    def matches(self, scope: str, attributes: Mapping[str, Any]) -> bool:
        if self.key is None:
            return fnmatchcase(scope, self.value)
        found = attributes.get(self.key)
        return found is not None and fnmatchcase(str(found), self.value)


@dataclass(frozen=True, slots=True)
class NodeRule:
    """A list of patterns; the last one that matches a span decides, and without any a span is a node.

    A pattern is a scope's name (`my.library`, `opentelemetry.instrumentation.*`), or `key=value` of an attribute
    (`http.request.method=*`); with `!` before it, what matches is kept out of the tree.
    """

    patterns: tuple[_Pattern, ...] = ()

    @classmethod
    def parse(cls, texts: Sequence[str]) -> NodeRule:
        """Read patterns.

        Raises:
            UsageError: one of them is empty.
        """
        return cls(tuple(_pattern(text.strip()) for text in texts))

    @property
    def is_by_scope(self) -> bool:
        """Whether scopes alone decide, and no attribute."""
        return all(pattern.key is None for pattern in self.patterns)

    def is_node(self, scope: str, attributes: Mapping[str, Any]) -> bool:
        """Tell whether a span of `scope` with `attributes` becomes a node."""
        for pattern in reversed(self.patterns):
            if pattern.matches(scope, attributes):
                return not pattern.is_exclusion
        # A list that says what is wanted leaves the rest out; one that only excludes leaves it in.
        return all(pattern.is_exclusion for pattern in self.patterns)


def _pattern(text: str) -> _Pattern:
    is_exclusion = text.startswith("!")
    body = text.removeprefix("!")
    if not body:
        raise UsageError(f"{text!r} is no pattern of spans; write a scope's name, or attribute=value")
    key, equals, value = body.partition("=")
    return _Pattern(is_exclusion, key, value) if equals else _Pattern(is_exclusion, None, body)
