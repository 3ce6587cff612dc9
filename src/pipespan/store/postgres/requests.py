"""Requests to live processes, through their table: the asking side, and the process's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg

from pipespan.model.attributes import json_text
from pipespan.store.base import RequestRow
from pipespan.store.postgres.connect import Connection, raise_translated, translated
from pipespan.store.postgres.held import HeldConnection
from pipespan.store.sqlfiles import SqlFiles, open_sql


def open_requests(connection: Connection, sql: SqlFiles, job_ids: Sequence[str]) -> list[RequestRow]:
    """See `pipespan.store.base.Desk.open_requests`."""
    rows = connection.execute(sql.query("open_requests"), {"job_ids": list(job_ids)}).fetchall()
    return [RequestRow(*row) for row in rows]


def answer_request(connection: Connection, sql: SqlFiles, request_id: str, answer: Mapping[str, Any]) -> None:
    """See `pipespan.store.base.Desk.answer_request`."""
    connection.execute(sql.query("answer_request"), {"id": request_id, "answer": json_text(answer)})


class PostgresAsker:
    """Implements `pipespan.store.base.Asker`; connects at the first call."""

    def __init__(self, dsn: str, *, sql: SqlFiles | None = None) -> None:
        self._sql = sql or open_sql()
        self._held = HeldConnection(dsn, self._sql)

    def ask(self, request: RequestRow, experiment_id: str, job_id: str) -> None:
        """See `Asker.ask`."""
        values = {
            "id": request.id, "experiment_id": experiment_id, "job_id": job_id, "kind": request.kind,
            "args": json_text(request.args), "asked_by": request.asked_by,
        }  # fmt: skip
        connection = self._held.get()
        with translated():
            connection.execute(self._sql.query("ask"), values)

    def answers(self, request_ids: Sequence[str]) -> Mapping[str, Mapping[str, Any]]:
        """See `Asker.answers`."""
        connection = self._held.get()
        try:
            rows = connection.execute(
                self._sql.query("request_answers"), {"ids": list(request_ids)}
            ).fetchall()
        except psycopg.Error as error:
            raise_translated(error)
        return dict(rows)

    def close(self) -> None:
        """See `Asker.close`."""
        self._held.close()
