"""How to serve."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """How to serve.

    Attributes:
        host: name or address to listen on.
        grpc_port: 0 takes a free one, None leaves the transport out.
        http_port: the same.
        certificate: file with the certificate chain; None serves in the clear.
        key: file with its private key.
        needs_token: whether senders have to show one.
        workers: how many processes share the ports.
        is_shared: this is one of those.
    """

    host: str
    grpc_port: int | None
    http_port: int | None
    certificate: str | None = None
    key: str | None = None
    needs_token: bool = True
    workers: int = 1
    is_shared: bool = False
