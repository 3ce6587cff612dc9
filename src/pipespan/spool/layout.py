"""Names and meaning of the files of a stream; the page `docs/reference/files-on-disk.md` tells the same to people.

A stream is a folder, made by one process and named by a uuid. In it stand `meta.json`, `lock` (held by the
process while it lives), and the segments of two lanes. A segment's name carries the offset of its first byte in
the lane, so that an offset stays valid when old segments are gone.
"""

from __future__ import annotations

import json
import os
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final, Literal

from pipespan.model.rows import EventRow, ExperimentRow, JobRow, LogRow, MetricRow, NodeRow, RowType
from pipespan.spool.owner import Owner
from pipespan.spool.private import open_private

Lane = Literal["keep", "bulk"]
LANES: Final[tuple[Lane, ...]] = ("keep", "bulk")
"""In the order of shipping: `keep` holds what `bulk` refers to, and what goes last when space is short."""

TAGS: Final[dict[RowType, bytes]] = {
    ExperimentRow: b"x",
    JobRow: b"j",
    NodeRow: b"n",
    LogRow: b"l",
    EventRow: b"v",
    MetricRow: b"m",
}
"""First byte of a line: which table it belongs to."""

ERROR_LOG_TAG: Final = b"E"
"""Tag of a log line of level ERROR or CRITICAL, so that errors are counted without parsing."""

ROW_TYPE_OF_TAG: Final[dict[bytes, RowType]] = {
    **{tag: row_type for row_type, tag in TAGS.items()},
    ERROR_LOG_TAG: LogRow,
}

META: Final = "meta.json"
LOCK: Final = "lock"
REJECTS: Final = "rejects"


@dataclass(frozen=True, slots=True)
class StreamMeta:
    """Who made a stream, and for which database.

    What a stream of an older version lacks is None.
    """

    stream_id: str
    target: str
    host: str
    pid: int
    created_unix_ns: int
    boot_id: str | None = None
    pid_namespace: str | None = None
    start_ticks: int | None = None

    @property
    def owner(self) -> Owner:
        """The process that made it."""
        return Owner(self.host, self.pid, self.boot_id, self.pid_namespace, self.start_ticks)

    def save(self, folder: Path) -> None:
        """Write `meta.json` into the stream's folder."""
        with open_private(folder / META, os.O_TRUNC) as file:
            file.write(json.dumps(asdict(self)).encode())

    @classmethod
    def load(cls, folder: Path) -> StreamMeta | None:
        """Return what `meta.json` says, or None when it is missing or unreadable."""
        try:
            content = json.loads((folder / META).read_text(encoding="utf-8"))
            known = {field.name for field in fields(cls)}  # a newer version may say more
            return cls(**{name: value for name, value in content.items() if name in known})
        except (OSError, ValueError, TypeError, AttributeError):
            return None


@dataclass(frozen=True, slots=True)
class Segment:
    """One file of a lane."""

    path: Path
    start_bytes: int


def segment_path(folder: Path, lane: Lane, start_bytes: int) -> Path:
    """Return the path of the segment of `lane` whose first byte has the offset `start_bytes`."""
    return folder / f"{lane}-{start_bytes:020d}.seg"


def segments(folder: Path, lane: Lane) -> list[Segment]:
    """Return the segments of `lane` in order of offset; none when the folder is gone."""
    prefix = f"{lane}-"
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    found = []
    for name in names:
        number = name.removeprefix(prefix).removesuffix(".seg")
        if name.startswith(prefix) and name.endswith(".seg") and number.isdecimal():
            found.append(Segment(folder / name, int(number)))
    return sorted(found, key=lambda segment: segment.start_bytes)


def segment_sizes_bytes(folder: Path) -> list[int]:
    """Return how large the segments of all lanes are; none when the folder is gone."""
    sizes_bytes = []
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(".seg"):
                with suppress(OSError):  # shipped and removed meanwhile
                    sizes_bytes.append(entry.stat().st_size)
    return sizes_bytes


def remove_stream(folder: Path) -> None:
    """Remove a stream that is shipped whole; its rejected rows, if any, are kept beside it."""
    rejects = folder / REJECTS
    if rejects.exists():
        rejects.replace(folder.parent / f"{folder.name}.{REJECTS}")
    shutil.rmtree(folder, ignore_errors=True)
