"""What goes wrong outside of any scope is recorded, and Python's hooks do what they did before."""

from __future__ import annotations


def errors_of(seen):
    return [(log.level, log.message, log.error_type, log.node_id) for log in seen.logs()]


def test_an_uncaught_exception_is_recorded_and_printed_as_ever(programs):
    """The traceback is on the terminal once and in the record once, and the exit status is 1."""
    ran = programs.run(
        """
        node = pipespan.pipeline("p").__enter__()
        raise ValueError("no such shard")
        """,
        code=1,
    )
    assert ran.err.count("ValueError: no such shard") == 1
    seen = programs.delivered()
    (log,) = seen.logs()
    assert (log.level, log.error_type, log.node_id) == ("ERROR", "ValueError", "p")
    assert "in <module>" in (log.traceback or "")
    assert seen.statuses() == {"p": "failed"}
    (job,) = seen.source.jobs(seen.id)
    assert (job.status, job.cause) == ("failed", "ValueError")


def test_an_exception_that_a_scope_has_told_is_not_told_again(programs):
    """One exception is one error."""
    programs.run("with pipespan.pipeline('p'):\n    raise KeyError('once')", code=1)
    assert len(errors_of(programs.delivered())) == 1


def test_threads_destructors_and_warnings(programs):
    """Each becomes a log row of the node that runs, and is printed as ever."""
    ran = programs.run(
        """
        import warnings
        class Rude:
            def __del__(self):
                raise OSError("in del")
        with pipespan.pipeline("p"), pipespan.step("s"):
            Rude()
            warnings.warn("be careful at 100%", stacklevel=1)
            thread = threading.Thread(target=lambda: 1 / 0, name="worker")
            thread.start()
            thread.join()
        """
    )
    for part in ("Exception ignored in", "UserWarning: be careful", "Exception in thread worker"):
        assert part in ran.err
    told = errors_of(programs.delivered())
    assert sorted((level, kind) for level, _, kind, _ in told) == [
        ("ERROR", "OSError"), ("ERROR", "ZeroDivisionError"), ("WARNING", None),
    ]  # fmt: skip
    assert {message for _, message, _, _ in told} >= {"UserWarning: be careful at 100%"}
    assert {node for level, _, kind, node in told if kind != "ZeroDivisionError"} == {"p/s"}


def test_hooks_of_the_user_run_set_before_and_after(programs):
    """Chained, not replaced: those that call what they found, too, end up in no circle."""
    ran = programs.run(
        """
        def before(*args): print("before", args[0].__name__)
        sys.excepthook = before
        threading.excepthook = lambda args: print("thread", args.exc_type.__name__)
        def work():
            raise RuntimeError("in a thread")
        with pipespan.pipeline("one"):
            thread = threading.Thread(target=work); thread.start(); thread.join()
        found = sys.excepthook
        def after(*args):
            print("after", args[0].__name__)
            found(*args)
        sys.excepthook = after
        with pipespan.pipeline("two"):
            pass
        pipespan.pipeline("three").__enter__()
        raise LookupError("at the end")
        """,
        code=1,
    )
    assert ran.out.split("\n")[:3] == ["thread RuntimeError", "after LookupError", "before LookupError"]


def test_a_hook_that_raises_harms_nobody_but_itself(programs):
    """An exception whose text cannot be had is recorded all the same."""
    ran = programs.run(
        """
        class Odd(Exception):
            def __str__(self): raise RuntimeError("no text")
        pipespan.pipeline("p").__enter__()
        raise Odd()
        """,
        code=1,
    )
    assert "Odd" in ran.err
    assert programs.delivered().statuses() == {"p": "failed"}


def test_what_an_event_loop_is_told(programs):
    """The default handler logs, which is taken in; a handler of the user's runs, with ours before it."""
    ran = programs.run(
        """
        import asyncio, gc
        async def fail(kind):
            raise kind("nobody waits for me")
        async def lose(kind):
            task = asyncio.ensure_future(fail(kind))
            await asyncio.sleep(0.01)
            del task
            gc.collect()
        async def main():
            with pipespan.pipeline("default"):
                await lose(ValueError)
            asyncio.get_running_loop().set_exception_handler(lambda loop, context: print("mine", context["message"]))
            with pipespan.pipeline("custom", experiment_id="11111111-2222-4333-8444-555555555555"):
                await lose(KeyError)
        asyncio.run(main())
        """
    )
    assert ran.out == "mine Task exception was never retrieved\n"
    seen = programs.delivered()
    told = [
        (log.error_type, log.message) for one in seen.experiments for log in seen.source.logs(one.id, _all())
    ]
    assert sorted(kind for kind, _ in told) == ["KeyError", "ValueError"]


def _all():
    from pipespan.store.base import LogFilter

    return LogFilter(limit=100)


def test_hooks_are_given_back_at_the_end(programs):
    """After the end of recording the program's hooks are its own again."""
    ran = programs.run(
        """
        import warnings, atexit
        mine = lambda *args: None
        sys.excepthook = mine
        threads, unraisable, show = threading.excepthook, sys.unraisablehook, warnings.showwarning
        atexit.register(lambda: print(
            sys.excepthook is mine, threading.excepthook is threads,
            sys.unraisablehook is unraisable, warnings.showwarning is show,
        ))
        with pipespan.pipeline("p"):
            pass
        """
    )
    assert ran.out.split() == ["True"] * 4
