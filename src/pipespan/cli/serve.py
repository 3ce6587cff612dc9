"""`pipespan serve`: take OTLP from other processes, languages and collectors."""

from __future__ import annotations

import click

from pipespan.cli.options import current, store_options
from pipespan.receiver.options import ServeOptions

NO_PORT = -1


@click.command("serve")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--grpc-port", type=click.IntRange(NO_PORT, 65535), default=4317, show_default=True,
              help="Port of OTLP/gRPC; 0 takes a free one, -1 leaves it out.")  # fmt: skip
@click.option("--http-port", type=click.IntRange(NO_PORT, 65535), default=4318, show_default=True,
              help="Port of OTLP/HTTP; 0 takes a free one, -1 leaves it out.")  # fmt: skip
@click.option("--no-token", is_flag=True, help="Let everybody send who reaches the address.")
@click.option("--show-token", is_flag=True, help="Print the token that senders have to show, and end.")
@click.option("--tls-cert", type=click.Path(exists=True, dir_okay=False), help="Certificate chain, for TLS.")
@click.option(
    "--tls-key", type=click.Path(exists=True, dir_okay=False), help="Private key of the certificate."
)
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True,
              help="Processes that share the ports.")  # fmt: skip
@click.option("--shared-ports", is_flag=True, hidden=True)
@store_options
@click.pass_context
def command(  # noqa: PLR0913 - one for each option
    ctx: click.Context, *, host: str, grpc_port: int, http_port: int, no_token: bool, show_token: bool,
    tls_cert: str | None, tls_key: str | None, workers: int, shared_ports: bool,
) -> int:  # fmt: skip
    """Receive traces, logs and metrics over OTLP and write them to the database.

    Senders show a token as `authorization: Bearer TOKEN`; `--show-token` prints it. What is acknowledged is in the
    database. Ends at SIGTERM or Ctrl-C.
    """
    if (tls_cert is None) != (tls_key is None):
        raise click.UsageError("--tls-cert and --tls-key belong together")
    invocation = current(ctx)
    settings = invocation.settings()
    if show_token:
        click.echo(invocation.services.serve_token(settings))
        return 0
    if grpc_port == NO_PORT and http_port == NO_PORT:
        raise click.UsageError("both ports are left out")
    if workers > 1 and 0 in {grpc_port, http_port}:
        raise click.UsageError("several workers share ports, so name them")

    def ready(grpc: int | None, http: int | None) -> None:
        scheme = "http" if tls_cert is None else "https"
        places = [] if grpc is None else [f"OTLP/gRPC on {host}:{grpc}"]
        places += [] if http is None else [f"OTLP/HTTP on {scheme}://{host}:{http}"]
        click.echo("ready" if shared_ports else f"receiving {', '.join(places)}; Ctrl-C ends it")

    options = ServeOptions(
        host, None if grpc_port == NO_PORT else grpc_port, None if http_port == NO_PORT else http_port,
        certificate=tls_cert, key=tls_key, needs_token=not no_token, workers=workers, is_shared=shared_ports,
    )  # fmt: skip
    return invocation.services.serve(settings, options, ready)
