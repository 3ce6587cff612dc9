from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from pipespan.cli.render.fold import fold
from pipespan.cli.render.table import render_experiments
from pipespan.cli.render.tree import render_status
from pipespan.model.health import derive_health
from pipespan.model.records import NodeRecord
from pipespan.model.status import STATUSES
from pipespan.query.status import StatusView, status
from tests.query.samples import NOW, ListSource, ago, experiment, job, node, parent


def view_of(nodes: list[NodeRecord], **changes: object) -> StatusView:
    return status(ListSource([experiment(**changes)], [job()], nodes), "last", NOW)


def lines_of(nodes: list[NodeRecord], width: int = 80, **options: object) -> list[str]:
    return render_status(view_of(nodes), width, False, **options).plain.splitlines()  # type: ignore[arg-type]


def big_tree() -> list[NodeRecord]:
    nodes = [parent("train", 40.0), parent("train/load", 80.0)]
    nodes += [node(f"train/load/{number}", status="completed") for number in range(3210)]
    nodes += [node("train/load/now", completed_units=5)]
    nodes += [node("train/load/bad", status="failed", error_type="OSError", message="disk full")]
    nodes += [node(f"train/load/later-{number}", status="pending") for number in range(12)]
    return nodes


def test_completed_siblings_are_folded() -> None:
    """Of a huge tree the running and the failed stay visible, the others are counted in one line each."""
    lines = lines_of(big_tree())
    assert any(line.endswith("… 3,210 completed") for line in lines)
    assert any(line.endswith("… 12 pending") for line in lines)
    assert any("● now" in line for line in lines)
    assert any("✖ bad" in line for line in lines)
    assert any("OSError: disk full" in line for line in lines)
    assert len(lines) < 20


def test_small_trees_are_shown_whole() -> None:
    """Nothing is folded while everything fits."""
    lines = lines_of([parent("train", 10.0), *(node(f"train/{n}", status="completed") for n in range(30))])
    assert not any("…" in line for line in lines)


def test_completed_parent_of_a_failure_is_not_folded() -> None:
    """A failure below a completed node stays in sight."""
    nodes = [parent("train", 40.0), *(node(f"train/{number}", status="completed") for number in range(100))]
    nodes += [node("train/50/inner", status="failed", error_type="KeyError")]
    lines = lines_of(nodes)
    assert any("✖ inner" in line for line in lines)
    assert any(line.endswith("… 99 completed") for line in lines)


def test_the_deepest_levels_are_folded_first() -> None:
    """At the end of a large run the outline stays in sight: only what lies deep is counted."""
    nodes = [node("demo", status="completed")]
    for phase in ("find", "parse", "measure", "report"):
        nodes.append(node(f"demo/{phase}", status="completed"))
        for step in range(3):
            nodes.append(node(f"demo/{phase}/{step}", status="completed"))
            nodes += [node(f"demo/{phase}/{step}/{number}", status="completed") for number in range(9)]
    tree = fold(view_of(nodes, status="completed").roots)
    assert len(tree) == 1 + 4 + 12 + 12
    assert {len(line.folded) for line in tree if line.node is None} == {9}
    names = [line.node.record.node_name for line in fold(view_of(nodes).roots, max_lines=10) if line.node]
    assert names == ["demo", "find", "parse", "measure", "report"]


def test_running_steps_give_way_to_the_outline() -> None:
    """Rather than hiding completed phases, few of many running steps are shown."""
    nodes = [parent("train", 40.0), *(node(f"train/{number}", status="completed") for number in range(20))]
    nodes += [parent("train/now", 30.0), *(node(f"train/now/{number}") for number in range(100))]
    tree = fold(view_of(nodes).roots)
    assert sum(line.node is not None and len(line.ancestors_last) == 1 for line in tree) == 21
    assert len(tree) <= 40


@pytest.mark.parametrize("state", ["running", "failed"])
def test_even_many_troubled_nodes_fit(state: str) -> None:
    """Five hundred at once show some and count the rest."""
    nodes = [parent("train", 40.0), *(node(f"train/{n}", status=state, error_type="E") for n in range(500))]
    tree = fold(view_of(nodes).roots)
    assert len(tree) <= 40
    assert sum(len(line.folded) for line in tree) + sum(line.node is not None for line in tree) == 501


def test_wide_forests_are_cut_with_a_count() -> None:
    """What no folding can shorten ends in a line that says how much is missing."""
    nodes = []
    for number in range(100):
        nodes += [parent(f"p{number}", 10.0), node(f"p{number}/a"), node(f"p{number}/b", status="failed")]
    lines = fold(view_of(nodes).roots, max_lines=10)
    assert len(lines) <= 10


def test_bars_and_percent() -> None:
    """A bar is full only when all is done; without a total there is none."""
    lines = lines_of(
        [
            parent("train", 99.99),
            node("train/half", completed_units=50, total_units=100),
            node("train/nearly", completed_units=9999, total_units=10_000),
            node("train/done", status="completed"),
            node("train/open", completed_units=77, unit="files"),
        ],
        width=100,
    )
    by_name = {
        name: next(line for line in lines if f" {name} " in line)
        for name in ("half", "nearly", "done", "open")
    }
    assert " 50%" in by_name["half"]
    assert by_name["half"].count("━") == by_name["half"].count("─") - 1  # the branch has one
    assert " 99%" in by_name["nearly"]
    assert by_name["nearly"].count("─") == 2
    assert "100%" in by_name["done"]
    assert by_name["done"].count("─") == 1
    assert "%" not in by_name["open"]
    assert "77 files" in by_name["open"]


def test_names_are_shortened_in_the_middle_first_for_figures() -> None:
    """Eighty columns hold a bar and a readable name beside all figures."""
    nodes = [
        parent("a-pipeline-with-a-long-name", 41.0, start_time=ago(7200)),
        node(
            "a-pipeline-with-a-long-name/phase-with-a-name-that-goes-on-and-on-0007",
            completed_units=123_456,
            total_units=987_654,
            unit="documents",
        ),
    ]
    line = next(line for line in lines_of(nodes) if "0007" in line)
    assert "…" in line
    assert "━" in line
    assert "123,456/987,654" in line
    assert "ETA" in line
    assert cell_len(line) <= 80


def test_unhealthy_runs_say_why() -> None:
    """Below the title stands what is wrong, wrapped to the width."""
    source = ListSource([experiment()], [job(heartbeat_at=ago(4000))], [])
    lines = render_status(status(source, "last", NOW), 50, False).plain.splitlines()
    assert any(line.startswith("  lost contact: process 4711") for line in lines)
    assert all(cell_len(line) <= 50 for line in lines)


def test_attempts_and_processes_are_told() -> None:
    """A restart shows as one."""
    lines = render_status(view_of([], attempt=3), 80, False).plain
    assert "attempt 3" in lines
    assert "1 process" in lines


NAMES = st.text(alphabet=st.characters(), min_size=1, max_size=60)


@st.composite
def forests(draw: st.DrawFn) -> list[NodeRecord]:
    nodes: list[NodeRecord] = []
    for number in range(draw(st.integers(0, 12))):
        above = draw(st.none() | st.integers(0, number - 1)) if number else None
        total = draw(st.none() | st.integers(0, 10**13))
        made = node(
            f"n{number}",
            parent_id=None if above is None else f"n{above}",
            node_name=draw(NAMES),
            status=draw(st.sampled_from(STATUSES)),
            completed_units=draw(st.integers(0, 10**13)),
            total_units=total,
            unit=draw(st.none() | st.just("bytes") | NAMES),
            message=draw(st.none() | NAMES),
            error_type=draw(st.none() | NAMES),
            start_time=ago(draw(st.floats(0, 1e7))),
            child_weight=draw(st.sampled_from([0, 1000])),
            progress_percent=draw(st.floats(0, 100)),
        )
        nodes.append(made)
    return nodes


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=40)
@given(
    nodes=forests(),
    name=NAMES,
    width=st.sampled_from([20, 40, 80, 132]),
    ascii_only=st.booleans(),
    max_lines=st.integers(3, 40),
)
def test_no_line_is_ever_too_long(
    nodes: list[NodeRecord], name: str, width: int, ascii_only: bool, max_lines: int
) -> None:
    """Whatever the tree holds, each line fits the width, and the terminal can show and need not obey it."""
    view = view_of(nodes, name=name)
    text = render_status(view, width, ascii_only, max_lines=max_lines).plain
    for line in text.split("\n"):
        assert cell_len(line) <= width
        assert not any(ord(char) < 0x20 or 0x7F <= ord(char) <= 0x9F for char in line)
    assert not ascii_only or text.isascii()
    text.encode("utf-8")


@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_broken_off_nodes_show_what_was_reached(state: str) -> None:
    """A failed or cancelled node shows what its children or its units reached; where it has neither, no percent."""
    nodes = [
        parent("train", 15.0, status=state),
        node("train/own", status=state, completed_units=3, total_units=10),
        node("train/none", status=state),
    ]
    lines = render_status(view_of(nodes, status=state), 80, False).plain.splitlines()
    root = next(line for line in lines if line.endswith("train") or " train " in line[:9])
    assert " 15%" in root
    assert " 30%" in next(line for line in lines if " own " in line)
    assert "%" not in next(line for line in lines if " none " in line)


def test_dead_runs_say_so_first() -> None:
    """What was recorded as running is told as interrupted, with a mark of its own, and counted so."""
    nodes = [parent("train", 40.0), node("train/a", message="at work"), node("train/b", status="completed")]
    dead = job(status="failed", cause="signal 9", ended_at=ago(2))
    view = status(ListSource([experiment()], [dead], nodes), "last", NOW)
    title, *lines = render_status(view, 80, False).plain.splitlines()
    assert title == "✖ nightly-train  dead (recorded as running)"
    assert any("3 nodes: 2 interrupted, 1 completed" in line for line in lines)
    assert sum("† " in line for line in lines) == 2
    assert not any("●" in line for line in lines)
    assert "! " in render_status(view, 80, True).plain


def test_lists_count_the_dead_to_their_last_sign() -> None:
    """How long a dead run took does not grow with each look."""
    dead = job(
        status="failed", cause="signal 9", heartbeat_at=ago(570), progress_at=ago(580), ended_at=ago(560)
    )
    health = derive_health(experiment(), [dead], NOW, {})
    line = render_experiments([(experiment(), health)], NOW, 80, False).plain
    assert line.startswith("✖ ")
    assert " 30 s" in line
    early = job(
        status="failed", cause="signal 9", heartbeat_at=ago(600), progress_at=ago(600), ended_at=ago(1)
    )
    health = derive_health(experiment(), [early], NOW, {})
    assert not render_experiments([(experiment(), health)], NOW, 80, False).plain.endswith(" s")
