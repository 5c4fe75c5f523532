"""pg-ui: the store's pages on loopback."""

from __future__ import annotations

import click

from pg_platform.cli.exits import exit_codes
from pg_platform.cli.options import Command
from pg_platform.config.paths import store_root


@click.command(cls=Command)
@click.option("--port", default=5000, show_default=True, help="Port on 127.0.0.1.")
def ui(port: int) -> None:
    """Serve the store's MLflow pages on loopback and print the links of each sweep's views."""
    with exit_codes():
        from pg_platform.store.server import serve

        serve(store_root(), port, echo=click.echo)
