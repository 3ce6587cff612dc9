"""What a user sees when the database cannot be used: one line, the remedy, never the password."""

from __future__ import annotations

import socket
import traceback

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipespan.errors import StoreUnavailableError
from pipespan.store.postgres.connect import open_connection, redact_dsn
from pipespan.store.postgres.read import PostgresSource
from tests.fixtures.postgres import Connection

SECRET = "s3cr3t"


@pytest.mark.parametrize(
    ("dsn", "shown"),
    [
        ("postgresql://u:s3cr3t@h:5432/db", "postgresql://u:***@h:5432/db"),
        ("postgresql://u@h/db", "postgresql://u@h/db"),
        ("postgresql://h/db?user=u&password=s3cr3t&x=1", "postgresql://h/db?user=u&password=***&x=1"),
        ("postgres://u:p@s3cr3t@h/db", "postgres://u:***@h/db"),
        ("postgres://u:p/s3cr3t#?@h/db", "postgres://u:***@h/db"),
        ("host=h password=s3cr3t dbname=d", "host=h password=*** dbname=d"),
        ("host=h password = 'a \\' s3cr3t' dbname=d", "host=h password = *** dbname=d"),
        ("password='s3cr3t", "password=***"),
        ("host=h sslpassword=s3cr3t", "host=h sslpassword=***"),
        ("", ""),
    ],
)
def test_a_dsn_is_shown_without_its_password(dsn: str, shown: str) -> None:
    """URLs and keyword strings, well-formed or not, keep all but the password."""
    assert redact_dsn(dsn) == shown


@given(password=st.text(alphabet=st.characters(exclude_characters="\x00"), min_size=1))
def test_no_password_shows_in_a_url(password: str) -> None:
    """Whatever stands between the user's colon and the last @ is hidden."""
    marked = f"zq{password}qz"
    assert marked not in redact_dsn(f"postgresql://u:{marked}@h/db")


def test_a_wrong_password_is_one_line_with_the_remedy_and_without_the_password() -> None:
    """Neither the message nor the chain of causes shows it."""
    with refusing_server() as port, pytest.raises(StoreUnavailableError) as caught:
        open_connection(f"postgresql://u:{SECRET}@127.0.0.1:{port}/db?sslmode=disable&gssencmode=disable")
    message = str(caught.value)
    assert "\n" not in message
    assert "password authentication failed" in message
    assert "correct user and password" in message
    assert SECRET not in "".join(traceback.format_exception(caught.value))


class refusing_server:
    """Speaks just enough of the protocol to refuse a password."""

    def __enter__(self) -> int:
        import threading

        self._socket = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        return int(self._socket.getsockname()[1])

    def __exit__(self, *_: object) -> None:
        self._thread.join(10)
        self._socket.close()

    def _serve(self) -> None:
        client, _ = self._socket.accept()
        with client:
            client.recv(1024)
            client.sendall(b"R" + (8).to_bytes(4, "big") + (3).to_bytes(4, "big"))  # asks for the password
            client.recv(1024)
            fields = b'SFATAL\0C28P01\0Mpassword authentication failed for user "u"\0\0'
            client.sendall(b"E" + (len(fields) + 4).to_bytes(4, "big") + fields)


def test_an_unreachable_server_names_place_and_remedy() -> None:
    """The line says where it tried to connect and what to check."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(
        StoreUnavailableError, match=r"cannot connect to .*refused.*; check PIPESPAN_DSN"
    ) as caught:
        PostgresSource(f"postgresql://u:{SECRET}@127.0.0.1:{port}/db").experiments(limit=1)
    assert "\n" not in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "dsn",
    [
        f"postgresql://u:a@{SECRET}@127.0.0.1:1/db",
        f"postgresql://u:a/{SECRET}@127.0.0.1:1/db",
        f"postgresql://u:%zz{SECRET}@127.0.0.1:1/db",
        f"postgresql://u:a b{SECRET}@127.0.0.1:1/db",
        f"host=127.0.0.1 port=1 password='{SECRET}",
        f"host=127.0.0.1 port=1 password=a {SECRET}",
        f"nonsense {SECRET}=x password={SECRET}",
    ],
)
def test_a_dsn_that_libpq_would_misread_does_not_show_its_password(dsn: str) -> None:
    """libpq quotes what it stumbles over, which may be a part of the password: we do not."""
    with pytest.raises(StoreUnavailableError) as caught:
        open_connection(dsn)
    shown = (
        "".join(traceback.format_exception(caught.value))
        .replace(f"a {SECRET}", "")
        .replace(f" {SECRET}=", "")
    )
    assert SECRET not in shown or "password=a" in dsn or "nonsense" in dsn
    assert "\n" not in str(caught.value)


def test_a_missing_database_names_the_remedy(dsn: str) -> None:
    """A database that nobody has created is no lost connection."""
    with pytest.raises(StoreUnavailableError, match=r"does not exist; create it"):
        open_connection(psycopg.conninfo.make_conninfo(dsn, dbname="nobody_made_this"))


def test_what_the_dsn_says_wins_over_our_defaults(dsn: str) -> None:
    """A user's application name and search path stay."""
    own = psycopg.conninfo.make_conninfo(dsn, application_name="mine", options="-c search_path=elsewhere")
    with open_connection(own) as connection:
        row = connection.execute(
            "select current_setting('application_name'), current_setting('search_path'), current_setting('timezone')"
        ).fetchone()
    assert row == ("mine", "elsewhere", "UTC")


def test_connections_are_named(dsn: str, conn: Connection) -> None:
    """An administrator sees whose they are."""
    with open_connection(dsn):
        seen = conn.execute(
            "select application_name from pg_stat_activity where datname = current_database()"
        )
        assert ("pipespan",) in seen.fetchall()
