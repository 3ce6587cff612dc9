"""Lines of COPY as an INSERT: a few rows are there sooner so, as the server need not ask for them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

_COPY: Final = re.compile(rb"^copy\s+(\S+)\s+\(([^)]*)\)\s+from stdin\s*$", re.MULTILINE)
_NULL: Final = rb"\N"
_ESCAPED: Final = re.compile(rb"\\(.)", re.DOTALL)
_UNESCAPES: Final = {b"n": b"\n", b"r": b"\r", b"t": b"\t"}


def insertion(copy: bytes, lines: Sequence[bytes], quoted: Callable[[bytes], bytes]) -> bytes:
    """Return the statement that writes the same rows as `copy` does with these lines.

    Args:
        copy: a query that copies to the columns of a table, from stdin.
        lines: at least one, as `pipespan.store.copytext` makes them, in pieces of one or several.
        quoted: makes a literal of a text; called for those that do not stand for themselves.

    Raises:
        ValueError: a line does not have the form of one, or not as many columns; COPY tells which and why.
    """
    found = _COPY.search(copy)
    if found is None:
        raise ValueError(f"{copy!r} is no query that copies from stdin")
    table, columns = found[1], found[2]
    tabs = columns.count(b",")
    *rows, rest = b"".join(lines).split(b"\n")
    if rest or any(row.count(b"\t") != tabs or b"\0" in row for row in rows):
        raise ValueError("a line is not one of this table")
    return b"insert into %b (%b) values\n%b" % (
        table,
        columns,
        b",\n".join(_row(row, quoted) for row in rows),
    )


def _row(row: bytes, quoted: Callable[[bytes], bytes]) -> bytes:
    fields = row.split(b"\t")
    if b"\\" not in row and b"'" not in row:
        return b"('%b')" % b"','".join(fields)
    return b"(%b)" % b",".join(_value(field, quoted) for field in fields)


def _value(field: bytes, quoted: Callable[[bytes], bytes]) -> bytes:
    if field == _NULL:
        return b"null"
    if b"\\" in field:
        return quoted(_ESCAPED.sub(lambda match: _UNESCAPES.get(match[1], match[1]), field))
    return quoted(field) if b"'" in field else b"'%b'" % field
