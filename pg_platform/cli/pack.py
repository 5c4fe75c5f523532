"""pg-pack: decode the images of an experiment once."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from pg_platform import api
from pg_platform.cli.exits import (
    checked,
    exit_codes,
    refuse,
    set_key,
)
from pg_platform.cli.options import Command, LocalPath, set_option


@click.command(
    cls=Command,
    alternatives=[["--verify", each] for each in ("FILE", "--set", "--shard-images")],
)
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path), required=False)
@click.argument("dest", metavar="DEST", type=LocalPath(), required=False)
@set_option
@click.option(
    "--shard-images",
    type=click.IntRange(min=1),
    default=1024,
    show_default=True,
    help="Images in a shard; what a killed pack loses at most.",
)
@click.option(
    "--verify",
    type=LocalPath(),
    metavar="DEST",
    help="Check every hash of a pack instead of making one.",
)
def pack(
    file: Path | None,
    dest: Path | None,
    overrides: tuple[str, ...],
    shard_images: int,
    verify: Path | None,
) -> None:
    """Decode the images of the experiment FILE once, into the pack DEST.

    The section data of FILE is an image_folder or parquet. Started again, it goes on.
    """
    if verify is not None:
        with exit_codes():
            from pg_platform.data import packs

            click.echo(f"{verify}: {packs.verify(verify, click.echo)} images, as written")
        return
    if file is None or dest is None:
        refuse("wanted is pg-pack FILE DEST, or pg-pack --verify DEST")
    if not file.is_file():
        refuse(f"no file {file}; examples/digits.yaml shows the form, and docs/data.md the kinds")
    experiment = checked(partial(api.load_experiment, file, overrides))
    with exit_codes(set_key):
        from pg_platform.data.packing import write_pack

        count = write_pack(experiment.data, dest, shard_images, click.echo)
        click.echo(
            f"{count} images in {dest}; train on them with --set data.kind=packed "
            f"--set data.path={dest}"
        )
