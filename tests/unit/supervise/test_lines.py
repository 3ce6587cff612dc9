"""Lines of output as log rows."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from pipespan.model.attributes import plain_text
from pipespan.model.rows import LogRow, Row
from pipespan.model.status import LogLevel
from pipespan.store.copytext import decode_line
from pipespan.supervise.lines import LineRows

TRACE_ID, SPAN_ID = "0a" * 16, "0b" * 8


@dataclass(frozen=True)
class Node:
    experiment_id: str = "e"
    job_id: str = "j"
    node_id: str = "run"
    trace_id: str = TRACE_ID
    span_id: str = SPAN_ID


@dataclass
class Written:
    """Takes rows by their lines."""

    rows: list[LogRow] = field(default_factory=list)

    def write(self, row: Row) -> None:
        raise AssertionError("each line of output has its row prepared")

    def write_log(self, experiment_id: str, level: LogLevel, message: str, line: bytes) -> None:
        row = decode_line(LogRow, line)
        assert (row.experiment_id, row.level, row.message) == (experiment_id, level, plain_text(message))
        self.rows.append(row)


@given(st.lists(st.text(), max_size=8))
def test_every_line_is_a_row_in_its_order(lines):
    """Same order, same row but for the message, whatever the command printed."""
    written = Written()
    LineRows(Node(), written).write("stdout", lines)
    assert [row.message for row in written.rows] == [plain_text(line) for line in lines]
    assert {row._replace(timestamp=0, message="", context=None) for row in written.rows} <= {
        LogRow("e", "j", "run", 0, "INFO", 9, "stdout", "", None, None, None, None, TRACE_ID, SPAN_ID)
    }
    assert all(row.context == {"stream": "stdout"} for row in written.rows)


def test_what_is_secret_in_a_line_is_hidden():
    """What is written, and what is kept as a job's last words, has passed what hides."""
    written = Written()
    LineRows(Node(), written, lambda text: text.replace("hunter2", "[hidden]")).write(
        "stderr", ["is hunter2"]
    )
    (row,) = written.rows
    assert (row.message, row.logger_name, row.context) == ("is [hidden]", "stderr", {"stream": "stderr"})
