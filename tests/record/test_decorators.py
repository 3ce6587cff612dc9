from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Generator, Iterator
from typing import Any

import pytest

from tests.record.support import Recorded


def here(recorded: Recorded) -> str:
    return recorded.current().node_id


def test_each_call_of_a_function_is_a_node(recorded: Recorded) -> None:
    """Name, arguments, result and metadata of the function stay; the node is named after it."""

    @recorded.step()
    def add(a: int, b: int = 2) -> tuple[int, str]:
        """Add."""
        return a + b, here(recorded)

    with recorded.pipeline():
        assert add(1) == (3, "run/add")
        assert add(1, b=5) == (6, "run/add#2")
    assert (add.__name__, add.__doc__, inspect.signature(add).parameters["b"].default) == ("add", "Add.", 2)
    assert recorded.statuses() == {"run": "completed", "run/add": "completed", "run/add#2": "completed"}


def test_a_decorator_may_give_name_and_options(recorded: Recorded) -> None:
    """They hold for each call."""

    @recorded.step("parse", unit="files", weight=3.0)
    def function() -> None:
        recorded.current().advance(4)

    with recorded.pipeline():
        function()
        function()
    row = recorded.nodes()["run/parse#2"]
    assert (row.unit, row.weight, row.completed_units) == ("files", 3.0, 4)


def test_recursion_nests(recorded: Recorded) -> None:
    """Each call stands below the one that made it."""

    @recorded.step()
    def down(depth: int) -> None:
        if depth:
            down(depth - 1)

    with recorded.pipeline():
        down(3)
    assert list(recorded.nodes())[-1] == "run/down/down/down/down"


def test_methods_of_all_kinds(recorded: Recorded) -> None:
    """Instance, class and static methods, whichever decorator comes first."""

    class Work:
        factor = 2

        @recorded.step()
        def plain(self, x: int) -> int:
            return x * self.factor

        @classmethod
        @recorded.step()
        def of_class(cls, x: int) -> int:
            return x * cls.factor

        @staticmethod
        @recorded.step()
        def static(x: int) -> int:
            return x

        @recorded.step()
        @staticmethod
        def static_inside(x: int) -> int:
            return x

        @recorded.step()
        @classmethod
        def of_class_inside(cls, x: int) -> int:
            return x * cls.factor

    with recorded.pipeline():
        work = Work()
        got = [
            work.plain(1),
            work.of_class(1),
            Work.of_class(2),
            work.static(5),
            work.static_inside(6),
            work.of_class_inside(4),
        ]
    assert got == [2, 2, 4, 5, 6, 8]
    assert list(recorded.nodes())[1:] == [
        "run/plain", "run/of_class", "run/of_class#2", "run/static", "run/static_inside", "run/of_class_inside",
    ]  # fmt: skip


def test_partials_and_callable_objects(recorded: Recorded) -> None:
    """What is callable can be decorated; what is not is refused."""

    class Callable:
        def __call__(self, x: int) -> int:
            return x

    with recorded.pipeline():
        assert recorded.step()(functools.partial(int, base=2))("11") == 3
        assert recorded.step()(Callable())(4) == 4
        with pytest.raises(ValueError, match="not a function"):
            recorded.step()(5)
    assert list(recorded.nodes())[1:] == ["run/partial", "run/Callable"]


def test_coroutine_functions_stay_coroutine_functions(recorded: Recorded) -> None:
    """The node is open while the coroutine runs, over its awaits."""

    @recorded.step()
    async def work(x: int) -> tuple[int, str]:
        await asyncio.sleep(0)
        return x, here(recorded)

    assert inspect.iscoroutinefunction(work)
    with recorded.pipeline():
        assert asyncio.run(work(3)) == (3, "run/work")
    assert recorded.statuses()["run/work"] == "completed"


def test_generators_are_nodes_from_first_item_to_end(recorded: Recorded) -> None:
    """The node is current inside of the generator and not in its consumer; its return value comes through."""
    seen: list[str] = []

    @recorded.step()
    def produce(count: int) -> Generator[int, None, str]:
        for number in range(count):
            seen.append(here(recorded))
            yield number
        return "end"

    def consume() -> Generator[int, None, str]:
        return (yield from produce(2))

    assert inspect.isgeneratorfunction(produce)
    with recorded.pipeline():
        generator = consume()
        assert "run/produce" not in recorded.nodes(), "nothing happens before the first item"
        assert next(generator) == 0
        assert here(recorded) == "run"
        assert recorded.statuses()["run/produce"] == "running"
        with recorded.step("between"):
            assert next(generator) == 1
            assert here(recorded) == "run/between"
        with pytest.raises(StopIteration) as stop:
            next(generator)
        assert stop.value.value == "end"
        assert here(recorded) == "run"
    assert seen == ["run/produce", "run/produce"]
    assert recorded.statuses() == {"run": "completed", "run/produce": "completed", "run/between": "completed"}


def test_scopes_inside_of_a_generator_do_not_reach_its_consumer(recorded: Recorded) -> None:
    """A step that is open over a `yield` belongs to the generator."""

    @recorded.step()
    def produce() -> Iterator[int]:
        for number in range(2):
            with recorded.step("inner"):
                yield number
                assert here(recorded).startswith("run/produce/inner")

    with recorded.pipeline():
        for _ in produce():
            assert here(recorded) == "run"
        assert here(recorded) == "run"
    assert list(recorded.nodes()) == ["run", "run/produce", "run/produce/inner", "run/produce/inner#2"]


def test_two_generators_in_turns_keep_apart(recorded: Recorded) -> None:
    """Interleaved, each is in its own node."""

    @recorded.step()
    def produce(name: str) -> Iterator[str]:
        for _ in range(3):
            with recorded.step(name) as node:
                yield node.node_id

    with recorded.pipeline():
        pairs = list(zip(produce("a"), produce("b"), strict=True))
        assert here(recorded) == "run"
    assert pairs[0] == ("run/produce/a", "run/produce#2/b")
    assert pairs[2] == ("run/produce/a#3", "run/produce#2/b#3")


def test_send_throw_and_close_reach_the_generator(recorded: Recorded) -> None:
    """A decorated generator is driven like a bare one."""
    heard: list[Any] = []

    @recorded.step()
    def echo() -> Generator[Any, Any, None]:
        answer: Any = "ready"
        while True:
            try:
                answer = yield answer
                heard.append(answer)
            except KeyError as error:
                answer = f"caught {error}"
            finally:
                heard.append(here(recorded))

    with recorded.pipeline():
        generator = echo()
        assert next(generator) == "ready"
        assert generator.send(1) == 1
        assert generator.throw(KeyError("k")) == "caught 'k'"
        generator.close()
        assert here(recorded) == "run"
        failing = echo()
        next(failing)
        with pytest.raises(ZeroDivisionError):
            failing.throw(ZeroDivisionError())
        assert here(recorded) == "run"
    assert heard == [1, "run/echo", "run/echo", "run/echo", "run/echo#2"]
    assert recorded.statuses() == {"run": "completed", "run/echo": "cancelled", "run/echo#2": "failed"}


def test_a_generator_that_is_dropped_is_cancelled(recorded: Recorded) -> None:
    """Breaking out of the loop over it closes its node."""

    @recorded.step()
    def produce() -> Iterator[int]:
        yield from range(10)

    with recorded.pipeline():
        for item in produce():
            if item == 3:
                break
        assert recorded.statuses()["run/produce"] == "cancelled"
        assert here(recorded) == "run"


def test_async_generators_as_well(recorded: Recorded) -> None:
    """The same with `async for`, `asend`, `athrow` and `aclose`."""
    seen: list[str] = []

    @recorded.step()
    async def echo(first: Any) -> Any:
        answer = first
        while answer != "stop":
            try:
                await asyncio.sleep(0)
                answer = yield answer
                await asyncio.sleep(0)
                seen.append(here(recorded))
            except KeyError:
                answer = "caught"

    async def work() -> None:
        generator = echo("a")
        assert await generator.__anext__() == "a"
        assert here(recorded) == "run"
        assert await generator.asend("b") == "b"
        assert await generator.athrow(KeyError()) == "caught"
        with pytest.raises(StopAsyncIteration):
            await generator.asend("stop")
        dropped = echo("x")
        async for _ in dropped:
            break
        await dropped.aclose()
        failing = echo("y")
        await failing.__anext__()
        with pytest.raises(ZeroDivisionError):
            await failing.athrow(ZeroDivisionError())
        assert here(recorded) == "run"

    with recorded.pipeline():
        asyncio.run(work())
    assert seen == ["run/echo", "run/echo"]
    assert recorded.statuses() == {
        "run": "completed", "run/echo": "completed", "run/echo#2": "cancelled", "run/echo#3": "failed",
    }  # fmt: skip


def test_async_scopes(recorded: Recorded) -> None:
    """`async with` does what `with` does."""

    async def work() -> str:
        async with recorded.pipeline("r") as run, run.step("s"):
            await asyncio.sleep(0)
            return here(recorded)

    assert asyncio.run(work()) == "r/s"
    assert recorded.statuses() == {"r": "completed", "r/s": "completed"}


def test_steps_of_gathered_tasks_keep_their_parents(recorded: Recorded) -> None:
    """Fifty coroutines at once, each with steps in steps: every child stands below its own parent."""

    @recorded.step("task")
    async def task(number: int) -> None:
        recorded.current().set(number=number)
        for depth in range(3):
            async with recorded.step(f"level {depth} of {number}"):
                await asyncio.sleep(0)
                async with recorded.step(f"leaf {number}"):
                    await asyncio.sleep(0)

    async def work() -> None:
        with recorded.step("all"):
            await asyncio.gather(*(task(number) for number in range(50)))

    with recorded.pipeline():
        asyncio.run(work())
    nodes = recorded.nodes()
    assert len(nodes) == 2 + 50 * 7
    owners = {row.node_id: row.metadata["number"] for row in nodes.values() if row.node_name == "task"}
    assert len(set(owners.values())) == 50
    for row in nodes.values():
        if row.node_name.startswith("level"):
            assert row.node_name.endswith(f" of {owners[row.parent_id or '']}")
        if row.node_name.startswith("leaf"):
            assert nodes[row.parent_id or ""].node_name.split()[-1] == row.node_name.split()[-1]
    assert set(recorded.statuses().values()) == {"completed"}


def test_an_async_generator_over_tasks_leaves_no_context_behind(recorded: Recorded) -> None:
    """A generator that is started in one task and ended in another does not fail."""

    @recorded.step()
    async def produce() -> AsyncIterator[int]:
        for number in range(3):
            yield number

    async def work() -> list[int]:
        generator = produce()

        async def take() -> int:
            return await generator.__anext__()

        got = [await asyncio.create_task(take()) for _ in range(3)]
        with pytest.raises(StopAsyncIteration):
            await asyncio.create_task(take())
        assert here(recorded) == "run"
        return got

    with recorded.pipeline():
        assert asyncio.run(work()) == [0, 1, 2]
    assert recorded.statuses()["run/produce"] == "completed"


def test_a_decorated_function_outside_of_a_pipeline_just_runs(recorded: Recorded) -> None:
    """Libraries may decorate; without a pipeline nothing is recorded."""

    @recorded.step()
    def plain(x: int) -> int:
        return x

    @recorded.step()
    def produce() -> Iterator[int]:
        yield 1

    assert plain(2) == 2
    assert list(produce()) == [1]
    assert recorded.written == []
