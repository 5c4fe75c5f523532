"""Everything that decides how one run behaves, on one page. Each default stands here only."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from pg_platform.config.document import Section, Wrong

Fraction = Annotated[float, Field(ge=0, le=1)]
Location = Annotated[str, Field(min_length=1)]
SplitFraction = Annotated[float, Field(gt=0, lt=1)]


class Digits(Section):
    """scikit-learn's 1,797 handwritten digits, 8x8 grey: real images that need no download."""

    kind: Literal["digits"] = "digits"
    image_size: PositiveInt = 28
    val_fraction: SplitFraction = 0.3


class Shapes(Section):
    """Generated pictures whose attributes (shape, colour, texture, position, size) are labels."""

    kind: Literal["shapes"]
    image_size: PositiveInt = 32
    val_fraction: SplitFraction = 0.2
    count: PositiveInt = 5000
    seed: NonNegativeInt = 0


class _OnDisk(Section):
    path: Location
    val_fraction: SplitFraction = 0.05


class Cifar10(_OnDisk):
    """CIFAR-10, downloaded by torchvision into `path` and checked by its md5."""

    kind: Literal["cifar10"]
    image_size: PositiveInt = 32


class Stl10(_OnDisk):
    """STL-10's 100,000 unlabelled and 5,000 labelled images, downloaded by torchvision."""

    kind: Literal["stl10"]
    image_size: PositiveInt = 96


class ImageFolder(_OnDisk):
    """A folder in ImageNet's layout: train/CLASS/* and val/CLASS/*, or CLASS/* to be split."""

    kind: Literal["image_folder"]
    image_size: PositiveInt = 224
    loader_processes: NonNegativeInt = 0


class Parquet(_OnDisk):
    """Parquet files with a column of encoded images and a column of integer labels."""

    kind: Literal["parquet"]
    val_path: Location | None = None
    image_column: str = "image"
    label_column: str = "label"
    image_size: PositiveInt = 224
    loader_processes: NonNegativeInt = 0


Data = Annotated[
    Digits | Shapes | Cifar10 | Stl10 | ImageFolder | Parquet, Field(discriminator="kind")
]


class Crop(Section):
    """A random resized crop: a share of the area, and width over height."""

    scale: tuple[Annotated[float, Field(gt=0, le=1)], Annotated[float, Field(gt=0, le=1)]] = (
        0.14,
        1.0,
    )
    ratio: tuple[PositiveFloat, PositiveFloat] = (0.75, 4 / 3)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for name in ("scale", "ratio"):
            low, high = getattr(self, name)
            if low > high:
                raise Wrong(name, f"wants the smaller number first, got [{low}, {high}]")
        return self


class ColorJitter(Section):
    """Strengths as torchvision's ColorJitter has them, applied with `probability`."""

    probability: Fraction = 0.8
    brightness: NonNegativeFloat = 0.4
    contrast: NonNegativeFloat = 0.4
    saturation: NonNegativeFloat = 0.2
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.1


class SpeakerView(Section):
    """What only the speaker's view gets: how probable a blur and a solarisation are."""

    blur: Fraction = 1.0
    solarize: Fraction = 0.0


class ListenerView(Section):
    """What only the listener's view gets."""

    blur: Fraction = 0.1
    solarize: Fraction = 0.2


class Views(Section):
    """Two random views of each image; every augmentation can be switched off (Table 3)."""

    crop: Crop | None = Crop()
    flip: Fraction = 0.5
    color_jitter: ColorJitter | None = ColorJitter()
    grayscale: Fraction = 0.2
    speaker: SpeakerView = SpeakerView()
    listener: ListenerView = ListenerView()


class SymbolTemperature(Section):
    """Gumbel-softmax temperature tau_s of eq. 5: from `start` to `end`, then constant."""

    start: PositiveFloat = 5.0
    end: PositiveFloat = 1.0
    anneal_fraction: Fraction = 0.5
    schedule: Literal["cosine", "linear"] = "cosine"


class PatchRank(Section):
    """ResNet-9 importances, soft-ranked per image, and the Bernoulli gate on them (eq. 7-8)."""

    width: PositiveInt = 64
    soft_rank_strength: PositiveFloat = 1.0
    gate_temperature: PositiveFloat = 1.0
    gate_clamp: Annotated[float, Field(ge=0, lt=0.5)] = 0.02


class Speaker(Section):
    """Names each patch with symbols and ranks the patches (sec. 3.2).

    `initial_logit_std` is the standard deviation of PatchSymbol's first logits for white noise;
    between natural patches it is about a third. Null leaves PyTorch's initialisation (0.15), where
    Gumbel noise of deviation 1.28 hides the image at first and short runs collapse.
    """

    patch_size: PositiveInt = 7
    vocab_size: Annotated[int, Field(ge=2, le=65536)] = 128
    symbols_per_patch: Annotated[int, Field(ge=1, le=64)] = 1
    hidden: PositiveInt = 768
    initial_logit_std: PositiveFloat | None = 8.0
    temperature: SymbolTemperature = SymbolTemperature()
    rank: PatchRank = PatchRank()


class Text(Section):
    """The transformer that reads a message (sec. 3.3)."""

    width: PositiveInt = 192
    depth: PositiveInt = 12
    heads: PositiveInt = 3

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.width % self.heads:
            message = f"wants a divisor of width {self.width}, got {self.heads}"
            raise Wrong("heads", message, "width")
        return self


class Vision(Section):
    """ResNet-18 with `width` channels in its first stage (sec. 3.4: 64)."""

    width: PositiveInt = 64


class Head(Section):
    """The MLP from features to the space in which messages and images meet."""

    hidden: PositiveInt = 2048
    out: PositiveInt = 256


class Listener(Section):
    """Matches messages to images by cosine similarity (sec. 3.3)."""

    text: Text = Text()
    vision: Vision = Vision()
    head: Head = Head()
    logit_scale_start: PositiveFloat = 1 / 0.07
    logit_scale_max: PositiveFloat = 100.0


class _Optimizer(Section):
    lr: PositiveFloat = 5e-4
    lr_batch_size: PositiveInt | None = 256
    min_lr: NonNegativeFloat = 0.0
    warmup_fraction: Fraction = 0.1
    clip_norm: PositiveFloat | None = None


class AdamW(_Optimizer):
    """AdamW; `lr` is meant for `lr_batch_size` images and scales linearly with the batch."""

    kind: Literal["adamw"] = "adamw"
    weight_decay: NonNegativeFloat = 0.05


class Sgd(_Optimizer):
    """Stochastic gradient descent with momentum (sec. 3.4)."""

    kind: Literal["sgd"]
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: NonNegativeFloat = 0.0


Optimizer = Annotated[AdamW | Sgd, Field(discriminator="kind")]


class Validation(Section):
    """Success is measured among `pool_size` candidates, so that batch sizes can be compared."""

    pool_size: Annotated[int, Field(ge=2)] = 512
    every_epochs: PositiveInt = 1


class Resources(Section):
    """Where a run lives. Nothing here changes its result, so nothing here is in its id."""

    workers: PositiveInt = 1
    cpus_per_worker: PositiveInt = 1
    gpus_per_worker: NonNegativeFloat = 0.0


class Checkpoints(Section):
    """One at the end of each epoch, and after every `every_steps` steps where that is given."""

    every_steps: PositiveInt | None = None


class Experiment(Section):
    """One run of the game."""

    seed: NonNegativeInt = 0
    epochs: PositiveInt = 100
    batch_size: Annotated[int, Field(ge=2)] = 512
    precision: Literal["auto", "bf16", "float32"] = "auto"
    data: Data = Digits()
    views: Views = Views()
    speaker: Speaker = Speaker()
    listener: Listener = Listener()
    optimizer: Optimizer = AdamW()
    validation: Validation = Validation()
    resources: Resources = Resources()
    checkpoints: Checkpoints = Checkpoints()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        patch, image = self.speaker.patch_size, self.data.image_size
        if image % patch or image == patch:
            raise Wrong(
                "speaker.patch_size",
                f"wants a divisor of data.image_size {image} smaller than it, got {patch}",
                "data.image_size",
            )
        workers = self.resources.workers
        if self.batch_size % workers:
            raise Wrong(
                "batch_size",
                f"wants a multiple of resources.workers {workers}, got {self.batch_size}",
                "resources.workers",
            )
        return self

    @property
    def patches(self) -> int:
        """K of the paper: patches of an image."""
        return (self.data.image_size // self.speaker.patch_size) ** 2

    def deciding(self) -> dict[str, Any]:
        """All that decides the result: not where the run lives, nor where its data lie."""
        return self.model_dump(
            mode="json",
            exclude={
                "resources": True,
                "checkpoints": True,
                "data": {"path", "val_path", "loader_processes"},
            },
        )
