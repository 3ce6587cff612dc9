"""Which subcommands `pipespan db` has."""

from __future__ import annotations

import click

from pipespan.cli.db.address import stop, url
from pipespan.cli.db.doctor import doctor
from pipespan.cli.db.migrate import migrate
from pipespan.cli.db.prune import prune
from pipespan.cli.db.queries import queries
from pipespan.cli.db.recreate import recreate
from pipespan.cli.db.roles import roles
from pipespan.cli.db.sample import sample
from pipespan.cli.options import store_options


@click.group("db")
@store_options
def command() -> None:
    """Manage the database that experiments are kept in."""


for _one in (migrate, doctor, prune, queries, sample, recreate, roles, url, stop):
    command.add_command(_one)
