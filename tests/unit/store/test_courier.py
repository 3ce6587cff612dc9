"""Programs ship through one courier; whatever becomes of it, each row arrives exactly once."""

from __future__ import annotations

import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import repeat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipespan.errors import OffsetError, RefusedError, StoreUnavailableError
from pipespan.model.rows import EventRow
from pipespan.spool.rounds import Rounds
from pipespan.spool.writer import SpoolWriter
from pipespan.store.base import Batch, RequestRow, StreamKey
from pipespan.store.courier import server
from pipespan.store.courier.carried import CarriedSink
from pipespan.store.courier.client import CourierGoneError, CourierSink, NotLetInError
from pipespan.store.courier.server import Courier
from pipespan.store.courier.way import BIG_BYTES, GATHER_S
from tests.fixtures import rows
from tests.fixtures.waiting import wait_for
from tests.spool.support import Fault, ScriptedSink, new_writer

PHRASE = "agreed"
DEADLINE_S = 10.0


class Database(ScriptedSink):
    """A sink that tells how often it was opened, and is asked for requests."""

    opened = 0
    readied = 0
    answers: dict[str, Mapping[str, Any]] = {}  # noqa: RUF012 - each instance gets its own in `database`
    stray_rows = 3

    def open(self) -> Database:
        self.opened += 1
        self.is_closed = False
        return self

    def get_ready(self) -> None:
        self.readied += 1

    def open_requests(self, job_ids: Sequence[str]) -> list[RequestRow]:
        return [RequestRow(one, "stack", "me@here", {"deep": True}) for one in job_ids]

    def answer_request(self, request_id: str, answer: Mapping[str, Any]) -> None:
        self.answers[request_id] = answer


@pytest.fixture
def database() -> Database:
    made = Database()
    made.answers = {}
    return made


@pytest.fixture
def path() -> Iterator[Path]:
    """Give a name that is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="pspan-", dir="/tmp") as folder:
        yield Path(folder) / "courier.sock"


@pytest.fixture
def courier(path: Path, database: Database) -> Iterator[Courier]:
    made = Courier(path, PHRASE, database.open)
    made.start()
    yield made
    made.close()


def batch(start: int, text: bytes = b"x", key: str = "s") -> Batch:
    return Batch(StreamKey(key, "keep"), start, start + len(text), {EventRow: [text + b"\n"]}, {"e": 1})


def test_what_is_handed_over_arrives(courier: Courier, path: Path, database: Database) -> None:
    """Rows, offsets, requests and answers go through; the way is closed when the last program has left."""
    one, other = CourierSink(path, PHRASE), CourierSink(path, PHRASE)
    one.ship(batch(0, b"first"))
    other.ship(batch(0, b"second", "t"))
    assert one.offset(StreamKey("s", "keep")) == 5
    assert one.open_requests(["j"]) == [RequestRow("j", "stack", "me@here", {"deep": True})]
    one.answer_request("j", {"stack": "..."})
    assert database.lines == {"keep": [b"first\n", b"second\n"]}
    assert (database.errors, database.answers) == ({"e": 2}, {"j": {"stack": "..."}})
    assert one.stray_rows == 3
    one.close()
    assert not database.is_closed
    other.close()  # waits for it: whoever drops the database next finds nobody connected
    assert database.is_closed
    assert database.opened == 1


def test_it_connects_before_anybody_comes(
    path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first rows wait for nothing then; a connection that nobody wants is given back after a while."""
    monkeypatch.setattr(server, "EXPECTED_S", 0.3)
    made = Courier(path, PHRASE, database.open)
    made.start()
    made.get_ready()
    wait_for(lambda: database.readied == 1)
    sink = CourierSink(path, PHRASE)
    sink.ship(batch(0))
    assert database.opened == 1
    time.sleep(0.6)
    assert not database.is_closed  # it is in use
    sink.close()
    assert database.is_closed
    made.get_ready()
    wait_for(lambda: database.opened == 2)
    wait_for(lambda: database.is_closed)
    made.close()


def test_who_connects_too_early_does_no_harm(path: Path, database: Database) -> None:
    """Where the database is away then, the next program finds it as if nobody had asked."""
    tried = threading.Event()

    def open_sink() -> Database:
        if not tried.is_set():
            tried.set()
            raise StoreUnavailableError("the server is starting")
        return database.open()

    made = Courier(path, PHRASE, open_sink)
    made.start()
    made.get_ready()
    assert tried.wait(DEADLINE_S)
    sink = CourierSink(path, PHRASE)
    sink.ship(batch(0))
    sink.close()
    made.close()
    assert database.lines == {"keep": [b"x\n"]}


def test_errors_keep_their_kind(courier: Courier, path: Path, database: Database) -> None:
    """A program cannot tell the courier's errors from those of a connection of its own."""
    database.refuses = lambda line: b"poison" in line
    sink = CourierSink(path, PHRASE)
    sink.ship(batch(0))
    with pytest.raises(OffsetError) as told:
        sink.ship(batch(7))
    assert told.value.shipped_bytes == 1
    with pytest.raises(RefusedError, match="poison"):
        sink.ship(batch(1, b"poison"))
    database.schedule = iter(["away"])
    with pytest.raises(StoreUnavailableError, match="away"):
        sink.ship(batch(1))
    assert database.is_closed  # a connection that has failed is made anew
    sink.ship(batch(1))
    assert database.opened == 2
    sink.close()


@pytest.mark.parametrize("phrase", ["", "disagreed", "ägreed"])
def test_who_goes_another_way_is_not_let_in(
    courier: Courier, path: Path, database: Database, phrase: str
) -> None:
    """Another password or schema is another way to the database, and nothing may be shipped by mistake."""
    with pytest.raises(NotLetInError, match="another way"):
        CourierSink(path, phrase)
    assert database.opened == 0


def test_nothing_is_done_before_the_greeting(courier: Courier, path: Path, database: Database) -> None:
    """Nor for noise: it is hung up on, and others are served as before."""
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.connect(str(path))
        stranger.sendall(b"\xff" * 100)
        assert stranger.recv(1) == b""
    sink = CourierSink(path, PHRASE)
    sink.ship(batch(0))
    sink.close()
    assert database.lines == {"keep": [b"x\n"]}


def test_who_vanishes_leaves(courier: Courier, path: Path, database: Database) -> None:
    """A program that is killed says no goodbye; its place and the connection are given back all the same."""
    sink = CourierSink(path, PHRASE)
    sink.ship(batch(0))
    sink._line.close()
    wait_for(lambda: database.is_closed)


def test_a_full_courier_sends_people_away(
    courier: Courier, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They ship by themselves; when somebody leaves there is room again."""
    monkeypatch.setattr(server, "MAX_PROGRAMS", 1)
    sink = CourierSink(path, PHRASE)
    with pytest.raises(NotLetInError):
        CourierSink(path, PHRASE)
    sink.close()
    CourierSink(path, PHRASE).close()


def test_nobody_is_there(path: Path) -> None:
    """A name that is missing, or left by a courier that was killed."""
    with pytest.raises(CourierGoneError):
        CourierSink(path, PHRASE)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with pytest.raises(CourierGoneError):
        CourierSink(path, PHRASE)
    Courier(path, PHRASE, Database).close()  # takes the place of the dead one
    assert not path.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no short names for deep folders")
def test_it_stands_in_deep_folders(path: Path, database: Database) -> None:
    """The kernel's bound of a socket's name is not that of the state folder's."""
    deep = path.parent / ("d" * 200) / "courier.sock"
    deep.parent.mkdir()
    courier = Courier(deep, PHRASE, database.open)
    courier.start()
    sink = CourierSink(deep, PHRASE)
    sink.ship(batch(0))
    sink.close()
    courier.close()
    assert database.lines == {"keep": [b"x\n"]}
    assert not deep.exists()


@pytest.fixture
def fetching(path: Path, database: Database) -> Iterator[Courier]:
    """A courier that fetches."""
    made = Courier(path, PHRASE, database.open, Rounds)
    made.start()
    yield made
    made.close()


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[SpoolWriter]:
    made = new_writer(tmp_path)
    yield made
    if (stream := made.close()) is not None:
        stream.close()


OFFSETS = {"keep": 0, "bulk": 0}
EVERY_S = 0.02


def fetched_by(sink: CourierSink, writer: SpoolWriter, offsets: dict[str, int] = OFFSETS) -> bool:
    """Have the writer's stream fetched, with a row in it."""
    writer.write(rows.event())
    return sink.fetch(str(writer.folder()), offsets, EVERY_S)


def test_a_stream_is_fetched(fetching: Courier, path: Path, database: Database, writer: SpoolWriter) -> None:
    """Its process says nothing more; how far it is comes along with any answer, and by itself."""
    sink = CourierSink(path, PHRASE)
    assert fetched_by(sink, writer)
    wait_for(lambda: len(database.lines.get("keep", ())) == 1)
    writer.write(rows.event())
    wait_for(lambda: len(database.lines["keep"]) == 2)
    assert sink.open_requests(["j"]) != []
    told = sink.fetched()
    assert told is not None
    assert (told.rows, told.offsets["keep"], told.is_over) == (2, writer.spool_bytes(), False)
    told = sink.stop_fetching()
    assert told is not None
    assert sink.fetched() is None
    writer.write(rows.event())
    time.sleep(3 * EVERY_S)
    assert len(database.lines["keep"]) == 2
    assert sink.stray_rows == 3
    sink.close()
    assert database.is_closed


def test_who_hurries_is_fetched_from_at_once(
    fetching: Courier, path: Path, database: Database, writer: SpoolWriter
) -> None:
    """And not at the next turn, which is far away; whose stream is not fetched is told nothing."""
    sink = CourierSink(path, PHRASE)
    sink.hurry()
    writer.write(rows.event())
    assert sink.fetch(str(writer.folder()), OFFSETS, 3600.0)
    sink.hurry()
    wait_for(lambda: len(database.lines.get("keep", ())) == 1)
    sink.close()


def test_a_courier_that_does_not_fetch_says_so(courier: Courier, path: Path, writer: SpoolWriter) -> None:
    """Its programs go on as before."""
    sink = CourierSink(path, PHRASE)
    assert not fetched_by(sink, writer)
    assert sink.fetched() is None
    sink.close()


def test_what_is_no_stream_is_no_program_of_ours(fetching: Courier, path: Path, writer: SpoolWriter) -> None:
    """It is hung up on; others are served as before."""
    sink, strange = CourierSink(path, PHRASE), CourierSink(path, PHRASE)
    with pytest.raises(CourierGoneError):
        fetched_by(strange, writer, {"keep": 0})
    assert fetched_by(sink, writer)
    sink.close()


def test_who_vanishes_is_fetched_from_no_more(
    fetching: Courier, path: Path, database: Database, writer: SpoolWriter
) -> None:
    """What a killed program has left is for those who look after the dead."""
    sink = CourierSink(path, PHRASE)
    assert fetched_by(sink, writer)
    wait_for(lambda: len(database.lines.get("keep", ())) == 1)
    sink._line.close()
    wait_for(lambda: database.is_closed)
    writer.write(rows.event())
    time.sleep(3 * EVERY_S)
    assert len(database.lines["keep"]) == 1
    assert database.is_closed


def test_a_courier_that_looks_no_more_is_left(
    fetching: Courier, path: Path, database: Database, writer: SpoolWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers, but its database does not: the program ships by itself, as far as that goes."""
    may_go_on = threading.Event()

    def frozen(*_batches: Batch) -> None:
        assert may_go_on.wait(DEADLINE_S)

    way = Way(database)
    sink = CarriedSink(CourierSink(path, PHRASE), way.open, way.give_up)
    assert not sink.fetch("", OFFSETS, EVERY_S), "who has not shipped yet may go the wrong way"
    sink.ship(batch(0))
    monkeypatch.setattr(database, "ship", frozen)
    writer.write(rows.event())
    assert sink.fetch(str(writer.folder()), OFFSETS, EVERY_S)
    monkeypatch.setattr("pipespan.store.courier.client.PATIENCE_S", 0.2)
    wait_for(lambda: sink.fetched() is None)
    assert way.gave_up == 1
    may_go_on.set()
    assert not sink.fetch(str(writer.folder()), OFFSETS, EVERY_S)
    assert sink.stop_fetching() is None
    sink.close()


class Way:
    """A way of one's own to the same database."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.opened = 0
        self.gave_up = 0

    def open(self) -> Database:
        self.opened += 1
        return self.database

    def give_up(self) -> None:
        self.gave_up += 1


@pytest.mark.parametrize("fault", ["", "lost answer"])
def test_a_courier_that_goes_is_done_without(
    courier: Courier, path: Path, database: Database, fault: Fault
) -> None:
    """Whether it had shipped its last batch or not, each row is there once, and no error reaches the shipper."""
    way = Way(database)
    carried = CourierSink(path, PHRASE)
    sink = CarriedSink(carried, way.open, way.give_up)
    sink.ship(batch(0))
    if fault:
        database.ship(batch(1))  # as the courier did, of which nobody heard
    carried._line.close()
    if fault:
        with pytest.raises(OffsetError) as told:  # what the delivery goes on from
            sink.ship(batch(1))
        assert told.value.shipped_bytes == 2
    else:
        sink.ship(batch(1))
    sink.ship(batch(2))
    assert database.lines == {"keep": [b"x\n"] * 3}
    assert (way.opened, way.gave_up) == (1, 1)
    sink.close()


def test_an_outage_is_told_as_it_is(courier: Courier, path: Path, database: Database) -> None:
    """Once the courier's way has worked its errors are true: a driver of one's own would tell the same."""
    way = Way(database)
    sink = CarriedSink(CourierSink(path, PHRASE), way.open, way.give_up)
    sink.ship(batch(0))
    database.schedule = iter(["away"])
    with pytest.raises(StoreUnavailableError):
        sink.ship(batch(1))
    sink.ship(batch(1))
    assert way.opened == 0
    sink.close()


def test_a_way_that_never_worked_is_not_trusted(courier: Courier, path: Path, database: Database) -> None:
    """The courier may see another file of passwords: one's own connection tells what is wrong, or goes through."""
    way = Way(Database())
    database.schedule = repeat("away")
    sink = CarriedSink(CourierSink(path, PHRASE), way.open, way.give_up)
    sink.ship(batch(0))
    assert way.database.lines == {"keep": [b"x\n"]}
    assert way.gave_up == 1
    sink.close()


def test_much_at_once_has_a_connection_of_its_own(
    courier: Courier, path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others need not wait behind it; what is shipped is the same."""
    is_big = threading.Event()
    may_go_on = threading.Event()
    plain = database.ship

    def ship(*shipped: Batch) -> None:
        if any(one.end_bytes - one.start_bytes > BIG_BYTES for one in shipped):
            is_big.set()
            assert may_go_on.wait(DEADLINE_S)
        plain(*shipped)

    monkeypatch.setattr(database, "ship", ship)
    other, big = CourierSink(path, PHRASE), CourierSink(path, PHRASE)
    other.ship(batch(0, b"small", "other"))
    much = batch(0, b"x" * (BIG_BYTES + 1))
    shipping = threading.Thread(target=big.ship, args=(much,))
    shipping.start()
    assert is_big.wait(DEADLINE_S)
    other.ship(batch(5, b"small", "other"))
    may_go_on.set()
    shipping.join(DEADLINE_S)
    assert database.lines["keep"][:2] == [b"small\n"] * 2
    assert database.lines["keep"][2:] == much.lines[EventRow]
    assert database.opened == 2
    big.ship(batch(much.end_bytes, b"a little more"))
    big.close()
    other.close()
    assert database.opened == 2


def test_a_courier_that_does_not_answer_is_left(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is frozen holds nobody for ever."""
    monkeypatch.setattr("pipespan.store.courier.client.PATIENCE_S", 1)
    with socket.socket(socket.AF_UNIX) as frozen:
        frozen.bind(str(path))
        frozen.listen()
        with pytest.raises(CourierGoneError):
            CourierSink(path, PHRASE)


def test_programs_take_turns(
    courier: Courier, path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many at once: each stream is whole and in order, on one connection that is used by one at a time."""
    at_once = []
    inside = threading.Lock()
    plain = database.ship

    def watched(*shipped: Batch) -> None:
        at_once.append(inside.acquire(blocking=False))
        time.sleep(0.001)
        plain(*shipped)
        inside.release()

    monkeypatch.setattr(database, "ship", watched)
    troubles: list[BaseException] = []

    def program(name: str) -> None:
        try:
            sink = CourierSink(path, PHRASE)
            for start in range(20):
                sink.ship(batch(start, b"x", name))
            assert sink.offset(StreamKey(name, "keep")) == 20
            sink.close()
        except BaseException as error:
            troubles.append(error)

    threads = [threading.Thread(target=program, args=(str(number),)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
    assert troubles == []
    assert all(at_once)
    assert len(database.lines["keep"]) == 160
    assert database.opened == 1


class Slow(Database):
    """A database that is busy with the first batch until all others wait, and so shows what goes together."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = {}
        self.first = threading.Event()
        self.may_go_on = threading.Event()
        self.together: list[list[str]] = []
        self.waiting: Callable[[], int] = int

    def ship(self, *batches: Batch) -> None:
        if not self.first.is_set():
            self.first.set()
            assert self.may_go_on.wait(DEADLINE_S)
        self.together.append(sorted(one.key.stream_id for one in batches))
        super().ship(*batches)


def ship_at_once(path: Path, slow: Slow, what: dict[str, bytes]) -> dict[str, BaseException | None]:
    """Have each program ship its text while the database is busy with another's; return what each was told."""
    told: dict[str, BaseException | None] = {}

    def program(sink: CourierSink, name: str, text: bytes) -> None:
        try:
            sink.ship(batch(0, text, name))
        except BaseException as error:
            told[name] = error
        else:
            told[name] = None

    sinks = {name: CourierSink(path, PHRASE) for name in ["busy", *what]}
    threads = [threading.Thread(target=program, args=(sinks["busy"], "busy", b"x"))]
    threads[0].start()
    assert slow.first.wait(DEADLINE_S)
    threads += [
        threading.Thread(target=program, args=(sinks[name], name, text)) for name, text in what.items()
    ]
    for thread in threads[1:]:
        thread.start()
    wait_for(lambda: slow.waiting() == len(what))
    slow.may_go_on.set()
    for thread in threads:
        thread.join(DEADLINE_S)
    for sink in sinks.values():
        sink.close()
    assert told.pop("busy") is None
    return told


@pytest.fixture
def slow(path: Path) -> Iterator[Slow]:
    made = Slow()
    courier = Courier(path, PHRASE, made.open)
    made.waiting = lambda: len(courier._common._waiting)
    courier.start()
    yield made
    courier.close()


def test_what_waits_goes_together(path: Path, slow: Slow) -> None:
    """A transaction costs hardly more for ten programs than for one."""
    told = ship_at_once(path, slow, {str(number): b"x" for number in range(10)})
    assert set(told.values()) == {None}
    assert slow.together == [["busy"], [str(number) for number in range(10)]]
    assert len(slow.lines["keep"]) == 11


def test_not_too_much_goes_together(path: Path, slow: Slow) -> None:
    """Nobody waits for long for what others bring; each batch arrives once, whoever ships it."""
    half = b"x" * (BIG_BYTES // 2)
    told = ship_at_once(path, slow, dict.fromkeys("abcd", half))
    assert set(told.values()) == {None}
    assert max(map(len, slow.together)) <= 2
    assert sorted(name for names in slow.together for name in names) == ["a", "b", "busy", "c", "d"]


def test_a_trouble_of_ones_own_is_no_trouble_of_others(path: Path, slow: Slow) -> None:
    """A row that is refused, or a ledger that stands elsewhere, keeps nobody's rows back but its own program's."""
    slow.refuses = lambda line: b"poison" in line
    slow.ledger[StreamKey("elsewhere", "keep")] = 7
    texts = {"one": b"x", "poisoned": b"poison", "elsewhere": b"y", "other": b"z"}
    told = ship_at_once(path, slow, texts)
    assert sorted(texts) in slow.together
    assert (told["one"], told["other"]) == (None, None)
    assert isinstance(told["poisoned"], RefusedError)
    assert isinstance(told["elsewhere"], OffsetError)
    assert told["elsewhere"].shipped_bytes == 7
    assert sorted(slow.lines["keep"]) == [b"x\n", b"x\n", b"z\n"]


def test_an_outage_is_told_to_all_that_wait(path: Path, slow: Slow) -> None:
    """None of them takes its rows for delivered."""
    slow.schedule = iter(["ok", "away"])
    told = ship_at_once(path, slow, {"one": b"x", "other": b"y"})
    assert all(isinstance(error, StoreUnavailableError) for error in told.values())
    assert slow.lines["keep"] == [b"x\n"]


def test_a_batch_waits_a_moment_for_those_of_others(
    courier: Courier, path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Programs come at the same moments, but not at the very same; who is alone, or about to end, does not wait."""
    waited: list[float] = []
    monkeypatch.setattr("pipespan.store.courier.way.time", SimpleNamespace(sleep=waited.append))
    one = CourierSink(path, PHRASE)
    one.ship(batch(0))
    assert waited == []
    other = CourierSink(path, PHRASE)
    one.ship(batch(1))
    assert waited == [GATHER_S]
    hurried = CourierSink(path, PHRASE, is_pressing=lambda: True)
    hurried.ship(batch(0, b"x", "t"))
    assert waited == [GATHER_S]
    hurried.close()
    other.close()
    one.close()
