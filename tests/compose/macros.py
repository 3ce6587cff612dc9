"""Expands queries as Grafana does before it sends them to Postgres."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timezone

# Grafana's own: no closing parenthesis inside of the arguments.
_MACRO = re.compile(r"\$__([_a-zA-Z0-9]+)\(([^\)]*)\)")
_VARIABLE = re.compile(r"\$\{(\w+)(?::(\w+))?\}|\$([a-zA-Z]\w*)")


def expand(
    query: str, variables: Mapping[str, str], since: datetime, until: datetime, interval_s: int = 300
) -> str:
    """Return `query` with its variables and macros replaced.

    Raises:
        KeyError: a variable that the dashboard does not have.
        ValueError: a macro that is not known.
    """
    text = query.replace("$__interval_ms", str(interval_s * 1000)).replace("$__interval", f"{interval_s}s")
    text = _VARIABLE.sub(lambda found: _variable(found, variables), text)
    return _MACRO.sub(
        lambda found: _macro(found[1], [one.strip() for one in found[2].split(",")], since, until), text
    )


def _variable(found: re.Match[str], variables: Mapping[str, str]) -> str:
    value = variables[found[1] or found[3]]
    if found[2] == "sqlstring":
        return "'" + value.replace("'", "''") + "'"
    assert found[2] is None, found[0]
    return value


def _macro(name: str, arguments: list[str], since: datetime, until: datetime) -> str:
    times = [f"'{moment.astimezone(timezone.utc):%Y-%m-%dT%H:%M:%SZ}'" for moment in (since, until)]
    if name == "timeFilter" and len(arguments) == 1:
        return f"{arguments[0]} BETWEEN {times[0]} AND {times[1]}"
    if name == "timeFrom":
        return times[0]
    if name == "timeTo":
        return times[1]
    if name in {"timeGroup", "timeGroupAlias"} and len(arguments) == 2:
        step = int(arguments[1].strip("'").removesuffix("s"))
        group = f"floor(extract(epoch from {arguments[0]})/{step})*{step}"
        return group + (' AS "time"' if name == "timeGroupAlias" else "")
    raise ValueError(f"${{__{name}}} with {arguments}")
