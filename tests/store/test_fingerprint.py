"""Fingerprints and stages in SQL are those of Python."""

from __future__ import annotations

import sys
import traceback

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipespan.model.attributes import plain_text
from pipespan.model.fingerprint import fingerprint
from pipespan.model.ids import stage_of
from tests.fixtures.rows import log

PIECES = st.sampled_from(
    [
        *(
            "'",
            '"',
            " ",
            "\n",
            "\r",
            "\t",
            "\x0b",
            "0x",
            "1e",
            ".5",
            "-",
            "+",
            "a",
            "é",
            "\u00a0",
            "\u2028",
            "deadbeef",
        ),
        *(
            "5f1c2e9e-4f3a-4b5c-8d7e-123456789abc",
            "can't",
            "x1",
            "\\",
            "/",
            "%",
            "_",
            "\u0663",
            "İ",
            "ß",
            "𝟛",
        ),
        *(
            '  File "/a/b/tmpabc_9012.py", line 3, in f\n',
            '    | File "C:\\x\\__init__.py", line 10, in <module>\n',
        ),
        *('  File "/__main__.py", line 1\n', '  File "", line 1, in \n', '  File "a/b", line 12, in g\r\n'),
        *(' File "<ipython-input-3-5a1b2c3d4e5f>", line 1, in <lambda>\n', 'File "x\ny", line 1, in z\n'),
        *("    [Previous line repeated 970 more times]\n", "During handling of the above exception\n"),
    ]
)
TEXTS = st.one_of(st.text(), st.lists(st.one_of(PIECES, st.text(max_size=3)), max_size=30).map("".join)).map(
    plain_text
)


def in_sql(conn, *values):
    (found,) = conn.execute("select pipespan_fingerprint_v1(%s, %s, %s)", values).fetchone()
    return found


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(error_type=st.none() | TEXTS, message=TEXTS, trace=st.none() | TEXTS)
def test_sql_and_python_agree(conn, error_type, message, trace):
    """Whatever the texts are, both give the same fingerprint."""
    assert in_sql(conn, error_type, message, trace) == fingerprint(error_type, message, trace)


def failures():
    """Yield real exceptions: nested, chained, recursive, of the standard library, in groups, odd in text."""

    def recursive(depth):
        return recursive(depth + 1)

    def chained():
        try:
            int("x")
        except ValueError as error:
            raise KeyError("\u2028\x00'\"") from error

    def odd_code():
        exec(compile("\n\nraise OSError(2, 'no \\\\file')", '<odd "name" \\1>', "exec"))

    calls = [
        lambda: recursive(0),
        chained,
        odd_code,
        lambda: eval("1 +"),
        lambda: __import__("json").loads("{"),
    ]
    if sys.version_info >= (3, 11):
        calls.append(lambda: exec("raise ExceptionGroup('g', [ValueError(1), TypeError(2)])"))
    for call in calls:
        try:
            call()
        except Exception as error:
            yield type(error).__qualname__, plain_text(str(error)), plain_text(traceback.format_exc())


def test_real_tracebacks_agree(conn):
    """Both read the frames of exceptions as the interpreter prints them."""
    found = [(in_sql(conn, *one), fingerprint(*one)) for one in failures()]
    assert all(sql == python for sql, python in found)
    assert len({sql for sql, _ in found}) == len(found) >= 5


def test_long_texts_agree(conn):
    """The bounds are at the same character, with characters of several bytes too."""
    frame = '  File "/é/𝟛.py", line 3, in ü\n'
    for text in (
        "é" * 1_500 + "x",
        "x" * 999 + "'a'",
        frame * 5_000,
        "\n" * 70_000 + "x",
        "𝟛" + frame + "x" * 65_530,
    ):
        assert in_sql(conn, "E", text, text) == fingerprint("E", text, text)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(node_id=st.none() | st.lists(st.sampled_from(["a", "/", "é", "b#2", ""])).map("".join))
def test_stages_agree(conn, node_id):
    """The stage of a node is the same element of its path."""
    assert conn.execute("select pipespan_stage_v1(%s)", (node_id,)).fetchone() == (stage_of(node_id),)


def test_records_below_error_have_no_fingerprint(conn):
    """The column is made by the database, whoever wrote the row."""
    row = log()._asdict()
    for level in ("INFO", "WARNING", "ERROR", "CRITICAL"):
        conn.execute(
            "insert into pipeline_logs (experiment_id, timestamp, level, severity_number, logger_name, message) "
            "values (%s, now(), %s, 9, 'l', 'no 7')",
            (row["experiment_id"], level),
        )
    found = dict(conn.execute("select level, fingerprint from pipeline_logs").fetchall())
    assert found["INFO"] is found["WARNING"] is None
    assert found["ERROR"] == fingerprint("ERROR", "no 1", None) != found["CRITICAL"]
