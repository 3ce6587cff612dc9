"""Every exception that pipespan raises, in one tree, so that callers can catch by meaning.

PipespanError
├── UsageError                 a wrong call of the API; raised at once, the message names the remedy
├── SettingsError              a setting cannot be understood
├── NotFoundError              nothing answers to the given name
├── AmbiguousError             more than one thing answers to the given name
├── DocumentError              a document to import cannot be understood; nothing was written
├── ConflictError              what is to be imported is there already with another content; nothing was written
└── StoreError
    ├── StoreUnavailableError  the database cannot be reached now; trying again later may help
    ├── SchemaError            the schema is missing, too old or too new; a command mends it
    ├── OffsetError            the ledger stands elsewhere than the batch says
    └── RefusedError           the database refuses the content of a batch

`Cancelled` is none of them: it is no error, and `except Exception` must not stop it.
"""

from __future__ import annotations


class PipespanError(Exception):
    """Root of all exceptions of pipespan."""


class UsageError(PipespanError, ValueError):
    """The API was called in a way that can never work."""


class SettingsError(PipespanError, ValueError):
    """A setting has a value that cannot be understood."""


class NotFoundError(PipespanError, LookupError):
    """Nothing answers to the given reference."""


class AmbiguousError(PipespanError, LookupError):
    """More than one thing answers to the given reference."""


class DocumentError(PipespanError, ValueError):
    """A document to import cannot be understood; nothing was written."""


class ConflictError(PipespanError):
    """What is to be imported is there already with another content; nothing was written."""


class StoreError(PipespanError):
    """The store did not do what was asked."""


class StoreUnavailableError(StoreError):
    """The database cannot be reached or does not answer; the same call may work later."""


class SchemaError(StoreError):
    """The schema is missing or of another version; the message names the command that mends it."""


class OffsetError(StoreError):
    """A batch does not start where the ledger of its stream stands.

    Attributes:
        shipped_bytes: where the ledger stands.
    """

    def __init__(self, message: str, *, shipped_bytes: int) -> None:
        super().__init__(message)
        self.shipped_bytes = shipped_bytes


class RefusedError(StoreError):
    """The database refuses the content of a batch; trying the same again can never help."""


class Cancelled(KeyboardInterrupt):
    """Somebody asked the program to stop, by `pipespan cancel`; raised in the main thread at a call of pipespan.

    It is a `KeyboardInterrupt`, because programs and libraries that stop well at Ctrl-C stop well at this, too.
    """
