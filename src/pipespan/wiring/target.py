"""Which database the settings mean, as a name that tells no secret; what starts the watcher loads little else."""

from __future__ import annotations

import hashlib
import re
from typing import Final
from urllib.parse import urlsplit

from pipespan.config import Settings

_CONNINFO: Final = re.compile(r"(\w+)\s*=\s*('(?:[^'\\]|\\.)*'|\S*)")


def target_of(settings: Settings) -> str:
    """Return which database the rows are for, as a stream remembers it; never a password."""
    if settings.store == "otlp":
        return "otlp"
    schema = "" if settings.schema is None else f"#{settings.schema}"
    return _place_of(settings) + schema


def _place_of(settings: Settings) -> str:
    if settings.dsn is None:
        return f"embedded:{settings.state_dir.absolute()}"
    if "://" in settings.dsn:
        try:
            url = urlsplit(settings.dsn)
        except ValueError:  # its message may quote the password; the first connection tells what is wrong
            return f"postgres:?{digest(settings.dsn.rpartition('@')[2])}"
        place = f"postgres:{url.netloc.rpartition('@')[2]}{url.path}"
        # The query may name host and database, and may hold a password.
        return f"{place}?{digest(url.query)}" if url.query else place
    words = {name: value.strip("'") for name, value in _CONNINFO.findall(settings.dsn)}
    place = words.get("host") or words.get("hostaddr") or words.get("service") or ""
    return f"postgres:{place}:{words.get('port', '')}/{words.get('dbname', '')}"


def digest(text: str) -> str:
    """Return a short name of `text`, which tells nothing of it."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]
