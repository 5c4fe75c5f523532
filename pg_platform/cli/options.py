"""What the commands share: types of options, and a command that goes on without its screen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pg_platform.config.paths import absolute, is_address
from pg_platform.streams import outlive_readers

if TYPE_CHECKING:
    pass


class LocalPath(click.ParamType[Path]):
    """A path of this machine, absolute and with `~` read; an address is refused."""

    name = "path"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        if is_address(value):
            self.fail(f"wants a path of this machine, got {value}", param, ctx)
        try:
            return Path(absolute(value))
        except FileNotFoundError as error:
            self.fail(str(error), param, ctx)


set_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Replace one value of the file, as --set optimizer.lr=1e-3. Repeatable.",
)


address_option = click.option(
    "--address",
    metavar="ADDRESS",
    help="A running Ray cluster ('auto' on its head). Without it: this machine.",
)


class Command(click.Command):
    """A command that goes on without its screen, as in `pg-sweep FILE | head -3`."""

    def main(self, *arguments: Any, **options: Any) -> Any:
        outlive_readers()
        return super().main(*arguments, **options)
