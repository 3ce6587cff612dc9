"""What looks after the database that the settings mean."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING, Final

from pipespan.config import Settings
from pipespan.model.rows import LogRow, Row
from pipespan.model.status import ERROR_LEVELS
from pipespan.store.base import Batch, StreamKey
from pipespan.store.copytext import encode_rows
from pipespan.wiring.stores import default_retention, dsn_of, open_sink

if TYPE_CHECKING:
    from pipespan.store.maintenance import Maintenance

_BATCH_ROWS: Final = 1_000


def open_maintenance(settings: Settings) -> Maintenance:
    """Return what looks after the database.

    Raises:
        StoreError: the embedded server cannot be had.
    """
    from pipespan.store.postgres.maintain import PostgresMaintenance  # noqa: PLC0415 - psycopg is slow to import

    return PostgresMaintenance(
        dsn_of(settings), schema=settings.schema, default_retention=default_retention(settings)
    )


def ship_rows(settings: Settings, rows: Iterable[Row]) -> int:
    """Write rows as a process would that had recorded them; return how many.

    Raises:
        StoreError: the database does not take them.
    """
    key, written = StreamKey(str(uuid.uuid4()), "keep"), 0
    with closing(open_sink(settings)) as sink:
        for batch in _batches(rows, key):
            sink.ship(batch)
            written += batch.row_count
    return written


def _batches(rows: Iterable[Row], key: StreamKey) -> Iterator[Batch]:
    left, position = iter(rows), 0
    while some := list(islice(left, _BATCH_ROWS)):
        lines = encode_rows(some)
        size = sum(sum(map(len, table)) for table in lines.values())
        errors = Counter(
            row.experiment_id for row in some if isinstance(row, LogRow) and row.level in ERROR_LEVELS
        )
        yield Batch(key, position, position + size, lines, errors)
        position += size
