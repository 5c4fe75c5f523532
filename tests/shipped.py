"""The sweeps that ship with a relative path, made small without touching that path."""

from __future__ import annotations

from pathlib import Path

from pg_platform.config.experiment import ImageFolder
from pg_platform.config.paths import sweeps
from pg_platform.sweep.load import is_collection, load_sweep
from tests.pictures import write_folder

POOL = 8
SMALL_NETWORKS = (
    "resources.gpus_per_worker=0",
    "seeds=1",
    f"metric={{name: val/top1_pool{POOL}}}",
    "paper=null",
    "experiment.epochs=1",
    "experiment.batch_size=16",
    "experiment.precision=float32",
    "experiment.data.image_size=16",
    "experiment.speaker.rank.width=16",
    "experiment.listener.text.width=16",
    "experiment.listener.text.depth=1",
    "experiment.listener.text.heads=2",
    "experiment.listener.vision.width=16",
    "experiment.listener.head.hidden=16",
    "experiment.listener.head.out=8",
    f"experiment.validation.pool_size={POOL}",
)
MLP = ("experiment.speaker.symbol={kind: mlp, hidden: 16}",)
ITS_OWN = {
    "batch_size": (*MLP, "parameters.batch_size.values=[8, 16, 32]"),
    "patch_size": (*MLP, "parameters.speaker.patch_size.values=[4, 8]"),
    "recipe_bridge": (
        "experiment.speaker.symbol.width=16",
        "experiment.speaker.symbol.depth=1",
        "experiment.speaker.symbol.heads=2",
        "experiment.speaker.symbol.hidden=16",
        "experiment.listener.head.wide=64",
    ),
}
"""For sweeps whose values are not those of small pictures, and whose symbols are a network's."""


def files_with_imagenet() -> list[Path]:
    """The shipped sweeps whose images lie in a folder."""
    files = [file for file in sorted(sweeps().glob("*.yaml")) if not is_collection(file)]
    return [f for f in files if isinstance(load_sweep(f, []).experiment.data, ImageFolder)]


def shrunk(file: Path) -> list[str]:
    """What makes a shipped sweep end in seconds, as `--set` has it."""
    varied = ITS_OWN.get(file.stem, MLP)
    patches = () if file.stem == "patch_size" else ("experiment.speaker.patch_size=8",)
    return [part for text in (*SMALL_NETWORKS, *patches, *varied) for part in ("--set", text)]


def write_imagenet(folder: Path) -> Path:
    """A tiny data/imagenet below `folder`, with train/ and val/; the folder that holds classes."""
    imagenet = folder / "data" / "imagenet"
    write_folder(imagenet / "train", 40, "jpeg", (20, 20))
    write_folder(imagenet / "val", 16, "jpeg", (20, 20))
    return imagenet
