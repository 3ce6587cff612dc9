"""One switch turns everything into no-ops."""

from __future__ import annotations

from tests.wiring.programs import Programs

EVERYTHING = """
    import asyncio

    @pipespan.pipeline
    def main(x):
        @pipespan.step
        def plain(y):
            return y + 1

        @pipespan.step("named", total=3, unit="files")
        async def coroutine():
            async with pipespan.substep("inner") as inner:
                inner.progress(1, 2, "m")
                return 5

        @pipespan.phase
        def produce():
            got = yield 1
            yield got

        generator = produce()
        assert (next(generator), generator.send("sent")) == (1, "sent")
        generator.close()
        assert plain(1) == 2
        assert asyncio.run(coroutine()) == 5
        with pipespan.step("s", weight=2, metadata={"a": 1}) as step:
            assert list(step.track([1, 2], unit="x")) == [1, 2]
            assert list(pipespan.track(range(3))) == [0, 1, 2]
            pipespan.progress(1, 2)
            pipespan.advance()
            pipespan.event("e", detail=1)
            pipespan.artifact("file.txt")
            pipespan.metric(loss=1)
            pipespan.current().set(a=1)
            step.plan("a", "b")
            step.message("m")
            with step.step("t") as t, t.substep("u"):
                t.event("x")
            assert step.name == step.node_id == step.experiment_id or step.name
        return x

    pipespan.on(started=print, failed=print)
    assert main(3) == 3
    log = pipespan.get_logger("user", a=1).bind(b=2)
    log.info("not %s", "shown")
    log.warning("shown")
    log.performance("op", 1.0)
    assert pipespan.logged(len)([1]) == 1
    assert pipespan.wrap(len)([1]) == 1
    assert pipespan.child_env({"A": "b"}).get("PIPESPAN_PARENT") is None
    assert pipespan.flush(1)
    try:
        with pipespan.pipeline("fails"):
            raise KeyError("k")
    except KeyError:
        pass
    print(pipespan.health().is_enabled)
"""


def test_disabled_nothing_is_written_and_all_works(programs: Programs) -> None:
    """Each function of the public face does its part for the caller, and no file, thread or line comes of it."""
    ran = programs.run(
        EVERYTHING
        + """
    print(sorted(thread.name for thread in threading.enumerate()))
    print([name for name in sys.modules if name.split(".")[0] in {"psycopg", "opentelemetry.sdk"}])
    """,
        PIPESPAN_DISABLED="1",
    )
    assert ran.out.splitlines() == ["False", "['MainThread']", "[]"]
    assert "pipespan:" not in ran.err
    assert not programs.state_dir.exists()


def test_enabled_the_same_program_does_the_same(programs: Programs) -> None:
    """The switch changes what is recorded and not what the program does."""
    source = EVERYTHING.replace("started=print, failed=print", "started=None")
    ran = programs.run(source)
    assert ran.out == "True\n"
    seen = programs.delivered()
    assert {one.name: one.status for one in seen.experiments} == {"main": "completed", "fails": "failed"}


def test_settings_come_from_files_and_from_configure(programs: Programs) -> None:
    """`pipespan.toml` beside the program counts; `configure` goes over it, and only before the first pipeline."""
    (programs.folder / "pipespan.toml").write_text("disabled = true\n")
    ran = programs.run("""
    with pipespan.pipeline("not recorded"):
        pass
    pipespan.configure(disabled=False)
    with pipespan.pipeline("recorded"):
        pass
    try:
        pipespan.configure(disabled=True)
    except pipespan.errors.UsageError as error:
        print(error)
    """)
    assert "before the first pipeline" in ran.out
    assert [one.name for one in programs.delivered().experiments] == ["recorded"]


def test_a_scope_left_open_at_the_exit_is_cancelled(programs: Programs) -> None:
    """A program that ends without closing says so in the tree."""
    programs.run("""
    run = pipespan.pipeline("run").__enter__()
    scope = run.step("open")
    scope.__enter__()
    """)
    assert programs.delivered().statuses() == {"run": "cancelled", "run/open": "cancelled"}


def test_an_interrupt_cancels_and_leaves_pythons_exit_as_it_is(programs: Programs) -> None:
    """Ctrl-C in a step: the traceback, the exit by signal, and `cancelled` in the tree."""
    programs.run(
        """
    with pipespan.pipeline("run") as run, run.step("s"):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)
    """,
        code=-2,
    )
    assert programs.delivered().statuses() == {"run": "cancelled", "run/s": "cancelled"}


def test_chdir_and_relative_folders(programs: Programs) -> None:
    """A program that changes its folder records on in the same place, over new segments too."""
    programs.run(
        """
    with pipespan.pipeline("run") as run:
        os.chdir("/")
        for number in range(200):
            logging.warning("line %d", number)
    """,
        PIPESPAN_STATE_DIR="state",
        PIPESPAN_SEGMENT_BYTES="3000",
    )
    assert len(programs.delivered().messages()) == 200
