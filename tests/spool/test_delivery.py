from __future__ import annotations

import os
import stat
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pipespan.errors import SchemaError, StoreError, StoreUnavailableError
from pipespan.model.rows import LogRow, RowType
from pipespan.spool.batches import build_batch, halves
from pipespan.spool.lane import LaneWriter
from pipespan.spool.layout import REJECTS, ROW_TYPE_OF_TAG, Lane, remove_stream
from pipespan.store.base import Batch, StreamKey
from tests.fixtures import rows
from tests.spool.support import Fault, ScriptedSink, delivery_of, new_writer

in_one_folder = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
faults: st.SearchStrategy[list[Fault]] = st.lists(
    st.sampled_from(["ok", "ok", "away", "lost answer"]), max_size=30
)


def stream(tmp_path: Path, lines: dict[Lane, list[bytes]], segment_bytes: int = 60) -> Path:
    folder = tmp_path / str(uuid.uuid4())
    folder.mkdir()
    for lane, those in lines.items():
        writer = LaneWriter(folder, lane, segment_bytes)
        for line in those:
            writer.append(line)
        writer.close()
    return folder


def numbered(count: int, *, bad: frozenset[int] = frozenset(), tag: str = "l") -> list[bytes]:
    return [f"{tag}{'bad' if number in bad else 'good'} {number}\n".encode() for number in range(count)]


def untagged(lines: list[bytes]) -> list[bytes]:
    return [line[1:] for line in lines]


lane_contents = st.builds(
    lambda count, bad: numbered(count, bad=bad),
    st.integers(0, 25), st.frozensets(st.integers(0, 24), max_size=3),
)  # fmt: skip


@in_one_folder
@given(
    keep=lane_contents, bulk=lane_contents, schedule=faults,
    batch=st.integers(1, 400), segment=st.integers(1, 400), restart=st.booleans(), is_new=st.booleans(),
)  # fmt: skip
@example(  # an answer is lost in the last chunk of a lane, which goes along with one of the next that is not its last
    keep=numbered(14, bad=frozenset({12})), bulk=numbered(6), schedule=["ok", "ok", "ok", "lost answer"],
    batch=40, segment=107, restart=False, is_new=False,
)  # fmt: skip
@example(  # a row of each lane is set aside before the ledger hears of the first
    keep=numbered(3, bad=frozenset({1})), bulk=numbered(4, bad=frozenset({1})),
    schedule=["ok", "ok", "lost answer", *["ok"] * 6, "away"],
    batch=31, segment=24, restart=False, is_new=False,
)  # fmt: skip
def test_each_row_arrives_once_or_is_set_aside_whatever_fails_when(
    tmp_path: Path,
    keep: list[bytes],
    bulk: list[bytes],
    schedule: list[Fault],
    batch: int,
    segment: int,
    restart: bool,
    is_new: bool,
) -> None:
    """Outages and lost answers at any calls, refused rows anywhere: the good rows are there once, in order."""
    folder = stream(tmp_path, {"keep": keep, "bulk": bulk}, segment)
    sink = ScriptedSink(iter(schedule), refuses=lambda line: line.startswith(b"bad"))
    delivery = delivery_of(folder, batch_bytes=batch, is_new=is_new)
    rejected = 0
    while True:
        try:
            assert delivery.run(sink, is_ended=True)
            break
        except StoreUnavailableError:
            if restart:  # another process goes on, which knows nothing of this one
                rejected += delivery.tally.rejected
                delivery = delivery_of(folder, batch_bytes=batch)
    good = {
        lane: [line for line in untagged(lines) if line.startswith(b"good")]
        for lane, lines in (("keep", keep), ("bulk", bulk))
    }
    refused = [line for line in [*keep, *bulk] if line.startswith(b"lbad")]
    assert {lane: sink.lines.get(lane, []) for lane in good} == good
    kept = (folder / REJECTS).read_bytes().splitlines(keepends=True) if refused else []
    assert {line for line in kept if not line.startswith(b"#")} == set(refused)
    if not restart:
        arrived = sum(len(lines) for lines in good.values())
        assert (delivery.tally.rows, delivery.tally.rejected) == (arrived, len(refused))
        assert len(kept) == 2 * len(refused), "each once, with its reason"
    else:
        assert rejected + delivery.tally.rejected >= len(refused)


@pytest.mark.parametrize("place", [0, 1, 49, 98, 99])
def test_a_refused_row_is_found_wherever_it_stands(tmp_path: Path, place: int) -> None:
    """One poisoned row of a hundred is set aside with the reason; the other 99 arrive, in few transactions."""
    lines = numbered(100, bad=frozenset({place}))
    folder = stream(tmp_path, {"keep": lines}, 1 << 20)
    sink = ScriptedSink(refuses=lambda line: line.startswith(b"bad"))
    delivery = delivery_of(folder)
    assert delivery.run(sink)
    assert sink.lines["keep"] == [line for line in untagged(lines) if line.startswith(b"good")]
    assert (delivery.tally.rows, delivery.tally.rejected) == (99, 1)
    assert sink.calls <= 20
    reason, line = (folder / REJECTS).read_bytes().splitlines()
    assert reason.startswith(b"# will not have")
    assert line == lines[place].rstrip()
    assert stat.S_IMODE((folder / REJECTS).stat().st_mode) == 0o600


def test_rejected_rows_outlive_their_stream(tmp_path: Path) -> None:
    """When a stream is removed its rejected rows stay beside it."""
    folder = stream(tmp_path, {"keep": numbered(3, bad=frozenset({1}))})
    assert delivery_of(folder).run(ScriptedSink(refuses=lambda line: line.startswith(b"bad")), is_ended=True)
    remove_stream(folder)
    assert not folder.exists()
    assert b"bad 1" in (tmp_path / f"{folder.name}.{REJECTS}").read_bytes()


def test_keep_lane_is_shipped_before_bulk(tmp_path: Path) -> None:
    """What metrics and mild logs refer to is there before them."""
    folder = stream(tmp_path, {"bulk": numbered(9), "keep": numbered(9)})
    sink = ScriptedSink()
    assert delivery_of(folder, batch_bytes=20).run(sink)
    assert sink.order == sorted(sink.order, reverse=True)
    assert set(sink.order) == {"keep", "bulk"}


def test_lanes_go_together_where_little_is_there(tmp_path: Path) -> None:
    """A transaction costs hardly more for both; what does not fit in one goes in the order of the lanes."""
    folder = stream(tmp_path, {"bulk": numbered(9), "keep": numbered(9)}, 1 << 20)
    sink = ScriptedSink()
    delivery = delivery_of(folder)
    assert delivery.run(sink)
    assert sink.order == ["keep+bulk"]
    assert delivery.tally.rows == 18
    assert delivery.run(sink)
    assert sink.calls == 1
    folder = stream(tmp_path, {"bulk": numbered(9), "keep": numbered(9)}, 1 << 20)
    sink = ScriptedSink()
    assert delivery_of(folder, batch_bytes=80).run(sink)
    assert sink.order == ["keep", "bulk"]


@pytest.mark.parametrize("arrived", [1, 5, 8])
@pytest.mark.parametrize("lane", ["keep", "bulk"])
def test_a_ledger_that_stands_in_the_middle_is_gone_on_from(tmp_path: Path, arrived: int, lane: Lane) -> None:
    """Half of what was shipped in one go may have arrived before; the rest is not taken for delivered."""
    lines = numbered(9)
    folder = stream(tmp_path, {"bulk": lines, "keep": lines}, 1 << 20)
    sink = ScriptedSink()
    delivery = delivery_of(folder, is_new=True)
    sink.ledger[StreamKey(folder.name, lane)] = sum(len(line) for line in lines[:arrived])
    assert delivery.run(sink, is_ended=True)
    assert sink.lines[lane] == untagged(lines[arrived:])
    assert sink.lines["bulk" if lane == "keep" else "keep"] == untagged(lines)


def test_acknowledged_segments_are_removed_and_no_others(tmp_path: Path) -> None:
    """A file goes only when the database has all of it."""
    lines = numbered(6)  # 8 bytes each
    folder = stream(tmp_path, {"keep": lines}, segment_bytes=16)
    sink = ScriptedSink(iter(["ok", "ok", "away"]))
    offsets: list[int] = []
    delivery = delivery_of(folder, batch_bytes=8, acknowledged=lambda lane, offset: offsets.append(offset))
    with pytest.raises(StoreUnavailableError):
        delivery.run(sink)
    assert offsets == [8, 16]
    assert sorted(os.listdir(folder)) == [f"keep-{start:020d}.seg" for start in (16, 32)]
    assert delivery.run(sink)
    assert sorted(os.listdir(folder)) == [f"keep-{32:020d}.seg"], "the last one may still be written to"


def test_delivery_stops_between_batches_when_told(tmp_path: Path) -> None:
    """With no time left, what was acknowledged stays so and the rest waits."""
    folder = stream(tmp_path, {"keep": numbered(10)})
    sink = ScriptedSink()
    delivery = delivery_of(folder, batch_bytes=8)
    answers: Iterator[bool] = iter([True, True, False])
    assert not delivery.run(sink, may_go_on=lambda: next(answers))
    assert len(sink.lines["keep"]) == 3
    assert delivery.run(sink)
    assert sink.lines["keep"] == untagged(numbered(10))


def test_a_torn_end_is_passed_over_once_the_writer_is_gone(tmp_path: Path) -> None:
    """The half line of a killed process moves the ledger, so that the stream ends."""
    folder = stream(tmp_path, {"keep": [b"lwhole\n", b"lhal"]}, 1 << 20)
    sink = ScriptedSink()
    delivery = delivery_of(folder)
    assert delivery.run(sink, is_ended=True)
    assert sink.lines["keep"] == [b"whole\n"]
    assert sink.ledger[StreamKey(folder.name, "keep")] == len(b"lwhole\nlhal")
    assert delivery.tally.skipped_bytes == 4


def test_gaps_are_passed_over_and_counted(tmp_path: Path) -> None:
    """Segments that were dropped for space do not stop what lies behind them, also when a row there is refused."""
    lines = numbered(20, bad=frozenset({15}))
    folder = stream(tmp_path, {"bulk": lines}, segment_bytes=16)
    for segment in sorted(folder.iterdir())[:4]:
        segment.unlink()
    sink = ScriptedSink(refuses=lambda line: line.startswith(b"bad"))
    delivery = delivery_of(folder)
    assert delivery.run(sink, is_ended=True)
    assert sink.lines["bulk"] == [line for line in untagged(lines[8:]) if line.startswith(b"good")]
    assert delivery.tally.skipped_bytes == 64


def test_other_troubles_of_the_store_pass_through(tmp_path: Path) -> None:
    """A missing schema is not a poisoned row: nothing is set aside, all waits."""

    class Unmigrated(ScriptedSink):
        def ship(self, *batches: Batch) -> None:
            raise SchemaError("there is no schema; run `pipespan db migrate`")

    folder = stream(tmp_path, {"keep": numbered(3)})
    delivery = delivery_of(folder)
    with pytest.raises(StoreError):
        delivery.run(Unmigrated())
    assert not (folder / REJECTS).exists()
    assert delivery.run(ScriptedSink())
    assert delivery.tally.rows == 3


def test_errors_are_counted_by_experiment_on_the_way(tmp_path: Path) -> None:
    """Each delivered ERROR and CRITICAL log counts for its experiment, and no others do."""
    writer = new_writer(tmp_path)
    for level in ("INFO", "ERROR", "WARNING", "CRITICAL", "ERROR", "DEBUG"):
        writer.write(rows.log(level=level))
    stream_ = writer.close()
    assert stream_ is not None
    stream_.close()
    sink = ScriptedSink()
    delivery_of(stream_.folder).run(sink, is_ended=True)
    assert sink.errors == {rows.EXPERIMENT_ID: 3}


@given(
    lines=st.lists(st.binary(max_size=30).map(lambda raw: b"l" + raw.replace(b"\n", b"") + b"\n"), min_size=1)
)
def test_halves_cut_between_lines(lines: list[bytes]) -> None:
    """Both halves are whole lines, neither is empty, and together they are what was cut."""
    data = b"".join(lines)
    cut = halves(1000, data)
    if len(lines) == 1:
        assert cut is None
        return
    assert cut is not None
    (first_start, first), (second_start, second) = cut
    assert first + second == data
    assert (first_start, second_start) == (1000, 1000 + len(first))
    assert first.endswith(b"\n")
    assert second


EXPERIMENTS = [str(uuid.UUID(int=number)).encode() for number in range(2)]
some_lines = st.lists(
    st.builds(
        lambda tag, experiment, rest: tag + experiment + b"\t" + rest.translate(None, b"\r\n") + b"\n",
        st.sampled_from([b"l", b"l", b"E", b"n", b"m", b"?"]), st.sampled_from(EXPERIMENTS), st.binary(max_size=60),
    ),
    max_size=6,
)  # fmt: skip


@given(lines=some_lines, alike=st.integers(0, 5))
def test_lines_are_sorted_by_table_however_many_are_alike(lines: list[bytes], alike: int) -> None:
    """Each line is in its table without its tag, in order; errors are counted by experiment."""
    lines = [line for line in lines for _ in range(alike)] if len(lines) < 2 else lines
    data = b"".join(lines)
    batch = build_batch(StreamKey("s", "keep"), 7, 7 + len(data), data)
    expected: dict[RowType, list[bytes]] = {}
    for line in lines:
        row_type = ROW_TYPE_OF_TAG.get(line[:1])
        if row_type is not None:
            expected.setdefault(row_type, []).append(line[1:])
    assert {kind: b"".join(pieces) for kind, pieces in batch.lines.items()} == {
        kind: b"".join(those) for kind, those in expected.items()
    }
    assert batch.row_count == sum(map(len, expected.values()))
    assert batch.error_logs == Counter(line[1:37].decode() for line in lines if line[:1] == b"E")


def test_a_burst_is_one_piece() -> None:
    """Nothing is done line by line where all lines are alike."""
    lines = [b"E" + EXPERIMENTS[0] + b"\t%d\n" % number for number in range(100)]
    batch = build_batch(StreamKey("s", "keep"), 0, 1, b"".join(lines))
    assert batch.lines == {LogRow: [b"".join(line[1:] for line in lines)]}
    assert batch.error_logs == {EXPERIMENTS[0].decode(): 100}


def test_lines_of_an_unknown_kind_belong_to_nobody() -> None:
    """A newer version's line moves the offset and goes nowhere."""
    batch = build_batch(StreamKey("s", "keep"), 0, 12, b"?what\nlyes\n\n")
    assert [line for lines in batch.lines.values() for line in lines] == [b"yes\n"]
    assert batch.end_bytes == 12
