"""What the commands share: their options, and which of them exclude each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from pg_platform.cli.exits import refuse
from pg_platform.config.paths import absolute, is_address, sweeps
from pg_platform.streams import outlive_readers

if TYPE_CHECKING:
    from pg_platform.driver.live_table import Output

_Callback = TypeVar("_Callback", bound=Callable[..., Any])


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


class SweepName(click.ParamType[str]):
    """A sweep file by its path or its name; a shell completes both."""

    name = "sweep"

    def shell_complete(
        self,
        ctx: click.Context,  # noqa: ARG002
        param: click.Parameter,  # noqa: ARG002
        incomplete: str,
    ) -> list[CompletionItem]:
        known = sorted(path.stem for path in sweeps().glob("*.yaml"))
        named = [CompletionItem(name) for name in known if name.startswith(incomplete)]
        return [*named, CompletionItem(incomplete, type="file")]


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


local_option = click.option(
    "--local", is_flag=True, help="Train beside this process, a trial at a time, without Ray."
)


def output_options(callback: _Callback) -> _Callback:
    """`--quiet` and `--verbose`."""
    quiet = click.option("--quiet", "-q", is_flag=True, help="Show results and warnings only.")
    verbose = click.option(
        "--verbose", "-v", is_flag=True, help="A line for every epoch, and in between."
    )
    return quiet(verbose(callback))


def output_of(*, quiet: bool, verbose: bool) -> Output:
    """What a command shows of trials while they run."""
    return "quiet" if quiet else "verbose" if verbose else "table"


class Command(click.Command):
    """A command with `--version`, which goes on without its screen: `pg-sweep FILE | head -3`.

    Of each group of `alternatives` one may be given; `needs` says beside which others an option
    may stand, one of them at least. They are named as a user gives them: `--stop`, `FILE`.
    """

    def __init__(
        self,
        *arguments: Any,
        alternatives: Sequence[Sequence[str]] = (),
        needs: Mapping[str, Sequence[str]] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(*arguments, **options)
        self.alternatives, self.needs = alternatives, needs or {}
        click.version_option(package_name="pg_platform")(self)

    def main(self, *arguments: Any, **options: Any) -> Any:
        outlive_readers()
        return super().main(*arguments, **options)

    def invoke(self, ctx: click.Context) -> Any:
        """Refuse what does not go together in one line, then run."""
        given = {
            name
            for each in self.params
            if ctx.get_parameter_source(each.name or "") is ParameterSource.COMMANDLINE
            for name in (each.opts if isinstance(each, click.Option) else [each.make_metavar(ctx)])
        }
        for group in self.alternatives:
            if len(both := [name for name in group if name in given]) > 1:
                refuse(f"{both[0]} and {both[1]} exclude each other; give one of them")
        for option, wanted in self.needs.items():
            if option in given and not given & set(wanted):
                refuse(
                    f"{option} is of use with {' or '.join(wanted)} only; leave it out or add one"
                )
        return super().invoke(ctx)
