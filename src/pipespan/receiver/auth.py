"""Lets in who shows the token."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Final

SCHEME: Final = "bearer "
NO_TOKEN: Final = "the token is missing or wrong; send `authorization: Bearer TOKEN`"  # noqa: S105 - no token


@dataclass(frozen=True, slots=True)
class Gate:
    """Checks the `authorization` header of a request before its body is read.

    Attributes:
        token: what has to be shown; None lets everybody in.
    """

    token: str | None

    def admits(self, authorization: str | bytes | None) -> bool:
        """Tell whether a request with this header value may come in."""
        if self.token is None:
            return True
        if authorization is None:
            return False
        shown = (
            authorization if isinstance(authorization, bytes) else authorization.encode("utf-8", "replace")
        )
        scheme, token = shown[: len(SCHEME)], shown[len(SCHEME) :]
        is_bearer = scheme.lower() == SCHEME.encode()
        # Compared in constant time; a wrong scheme takes as long.
        return hmac.compare_digest(token.strip(), self.token.encode()) and is_bearer
