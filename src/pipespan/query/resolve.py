"""From what a person types to the one experiment that is meant."""

from __future__ import annotations

import difflib
import re
import uuid
from collections.abc import Sequence
from typing import Final

from pipespan.errors import AmbiguousError, NotFoundError
from pipespan.model.records import ExperimentRecord
from pipespan.store.base import Source

LAST: Final = "last"
"""The reference that means the newest experiment."""

MIN_PREFIX_DIGITS: Final = 4
"""Shorter id prefixes are refused: they would soon mean another experiment."""

_CANDIDATES: Final = 50
"""How many matches and how many recent names are looked at."""

_LISTED: Final = 5
"""How many candidates a message names."""

_HEX_PREFIX: Final = re.compile(r"[0-9a-f][0-9a-f-]*")


def resolve(source: Source, reference: str) -> ExperimentRecord:
    """Return the experiment that `reference` means: `last`, an id, a name (its newest run), or an id prefix.

    Raises:
        NotFoundError: nothing answers to it.
        AmbiguousError: it is an id prefix of several.
    """
    if reference == LAST:
        return _newest(source)
    prefix = _id_prefix(reference)
    # A name is stored as typed, an id in its canonical form: ask for both where they differ.
    for wanted in dict.fromkeys(one for one in (reference, prefix) if one):
        found = source.find_experiments(wanted, limit=_CANDIDATES)
        chosen = _choose(found, reference, prefix)
        if chosen is not None:
            return chosen
    raise NotFoundError(_unknown(reference, source))


def by_id(source: Source, experiment_id: str) -> ExperimentRecord:
    """Return the experiment of exactly this id.

    Raises:
        NotFoundError: there is none.
    """
    for record in source.find_experiments(experiment_id, limit=_CANDIDATES):
        if record.id == experiment_id:
            return record
    raise NotFoundError(f"there is no experiment {experiment_id!r}; `pipespan list` shows those that exist")


def _newest(source: Source) -> ExperimentRecord:
    newest = source.experiments(limit=1)
    if not newest:
        raise NotFoundError("there are no experiments yet; run a pipeline, or `pipespan demo`")
    return newest[0]


def _choose(found: Sequence[ExperimentRecord], reference: str, prefix: str | None) -> ExperimentRecord | None:
    """Return the record that is meant among `found` (newest first): exact id, exact name, unique id prefix."""
    exact = [one for one in found if one.id == prefix] or [one for one in found if one.name == reference]
    if exact:
        return exact[0]
    if prefix is None or sum(char != "-" for char in prefix) < MIN_PREFIX_DIGITS:
        return None
    matches = [one for one in found if one.id.startswith(prefix)]
    if len(matches) > 1:
        raise AmbiguousError(_ambiguous(reference, matches))
    return matches[0] if matches else None


def _id_prefix(reference: str) -> str | None:
    """Return `reference` as the start of a canonical id (a trace id has no hyphens), or None."""
    lowered = reference.lower()
    if _HEX_PREFIX.fullmatch(lowered) is None:
        return None
    digits = lowered.replace("-", "")
    if len(digits) > 32:
        return None
    canonical = str(uuid.UUID(digits.ljust(32, "0")))
    return canonical[: _canonical_length(len(digits))]


def _canonical_length(digits: int) -> int:
    return digits + sum(digits > boundary for boundary in (8, 12, 16, 20))


def _ambiguous(reference: str, matches: Sequence[ExperimentRecord]) -> str:
    more = f" and {len(matches) - _LISTED} more" if len(matches) > _LISTED else ""
    listed = ", ".join(f"{one.id} ({one.name})" for one in matches[:_LISTED])
    return f"{reference!r} is the start of several ids: {listed}{more}; type more of the one that you mean"


def _unknown(reference: str, source: Source) -> str:
    prefix = _id_prefix(reference)
    if prefix is not None and len(prefix) < MIN_PREFIX_DIGITS:
        return f"no experiment is called {reference!r}; type at least {MIN_PREFIX_DIGITS} characters of an id"
    names = dict.fromkeys(one.name for one in source.experiments(limit=_CANDIDATES))
    close = difflib.get_close_matches(reference, names, n=3)
    if close:
        return f"no experiment answers to {reference!r}; did you mean {', '.join(map(repr, close))}?"
    return f"no experiment answers to {reference!r}; `pipespan list` shows those that exist"
