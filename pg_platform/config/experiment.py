"""Everything that decides how one run behaves, on one page. Each default stands here only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from pg_platform.config.custom import Custom
from pg_platform.config.paths import Location
from pg_platform.config.section import Section, Wrong

Fraction = Annotated[float, Field(ge=0, le=1)]
OpenFraction = Annotated[float, Field(gt=0, lt=1)]


class Digits(Section):
    """scikit-learn's 1,797 handwritten digits, 8x8 grey: real images that need no download."""

    kind: Literal["digits"] = "digits"
    image_size: PositiveInt = 28
    """Side of the square views that both agents see, in pixels."""
    val_fraction: OpenFraction = 0.3
    """Share of the images that makes the validation split."""


class Shapes(Section):
    """Generated pictures whose attributes (shape, colour, texture, position, size) are labels."""

    kind: Literal["shapes"]
    image_size: PositiveInt = 32
    """Side in pixels."""
    val_fraction: OpenFraction = 0.2
    """Share of the images that makes the validation split."""
    count: PositiveInt = 5000
    """How many pictures there are."""
    seed: NonNegativeInt = 0
    """The seed that they are generated from."""


class _OnDisk(Section):
    path: Location
    """A folder or an address; a relative path is meant from the folder of the command."""
    val_fraction: OpenFraction = 0.05
    """Share of the images that makes the validation split, where there is none."""


class Cifar10(_OnDisk):
    """CIFAR-10, downloaded by torchvision into `path` and checked by its md5."""

    kind: Literal["cifar10"]
    image_size: PositiveInt = 32


class Stl10(_OnDisk):
    """STL-10's 100,000 unlabelled and 5,000 labelled images, downloaded by torchvision."""

    kind: Literal["stl10"]
    image_size: PositiveInt = 96


class _Photos(_OnDisk):
    image_size: PositiveInt = 224
    """Side of the square views that both agents see, in pixels."""
    loader_processes: NonNegativeInt = 0
    """Processes that decode; 0: the trial's own."""


class ImageFolder(_Photos):
    """A folder as ImageNet's: `train/CLASS/*` and `val/CLASS/*`, or `CLASS/*` to be split."""

    kind: Literal["image_folder"]


class Parquet(_Photos):
    """Parquet files with a column of encoded images and a column of integer labels."""

    kind: Literal["parquet"]
    val_path: Location | None = None
    """Files of the validation split."""
    image_column: str = "image"
    label_column: str = "label"


class Packed(_Photos):
    """A pack that `pg-pack` has made: images decoded once, for sets larger than memory.

    Where the source had two splits the pack has them, and `val_fraction` decides nothing.
    """

    kind: Literal["packed"]


class CustomData(Custom):
    """Images of one's own: a class with `images(split)`, see data/image_set.py."""

    needs: ClassVar[Mapping[str, str]] = {"images": "(split) -> Images"}
    built_with: ClassVar[str] = "(data, options)"
    is_module: ClassVar[bool] = False

    image_size: PositiveInt = 32


Data = Annotated[
    Digits | Shapes | Cifar10 | Stl10 | ImageFolder | Parquet | Packed | CustomData,
    Field(discriminator="kind"),
]


class Crop(Section):
    """A random resized crop: a share of the area, and width over height."""

    scale: tuple[Annotated[float, Field(gt=0, le=1)], Annotated[float, Field(gt=0, le=1)]] = (
        0.14,
        1.0,
    )
    """Smallest and largest share of the image's area."""
    ratio: tuple[PositiveFloat, PositiveFloat] = (0.75, 4 / 3)
    """Smallest and largest width over height."""

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
    """null: the whole image."""
    flip: Fraction = 0.5
    """Probability of a horizontal flip."""
    color_jitter: ColorJitter | None = ColorJitter()
    grayscale: Fraction = 0.2
    """Probability of a grey view."""
    speaker: SpeakerView = SpeakerView()
    listener: ListenerView = ListenerView()


class SymbolTemperature(Section):
    """Gumbel-softmax temperature tau_s of eq. 5: from `start` to `end`, then constant."""

    start: PositiveFloat = 5.0
    end: PositiveFloat = 1.0
    anneal_fraction: Fraction = 0.5
    """Share of training after which it is `end`."""
    schedule: Literal["cosine", "linear"] = "cosine"
    update: Literal["step", "epoch"] = "step"
    """Whether it moves with every step or with every epoch."""


class _Transformer(Section):
    width: PositiveInt = 192
    depth: PositiveInt = 12
    heads: PositiveInt = 3

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.width % self.heads:
            message = f"wants a divisor of width {self.width}, got {self.heads}"
            raise Wrong("heads", message, "width")
        return self


class _Namer(Section):
    """What names patches.

    `initial_logit_std` is the standard deviation of PatchSymbol's first logits for white noise,
    and about as much between digits. Null leaves PyTorch's initialisation (0.2), where Gumbel
    noise of deviation 1.28 hides the image at first and short runs collapse.
    """

    initial_logit_std: PositiveFloat | None = 8.0


class MlpSymbols(_Namer):
    """A two-layer MLP on the pixels of one patch, which sees no other (sec. 3.4)."""

    kind: Literal["mlp"] = "mlp"
    hidden: PositiveInt = 768


class AffineSymbols(_Namer):
    """One affine map from the pixels of a patch to its logits."""

    kind: Literal["affine"]


class VitSymbols(_Transformer, _Namer):
    """A vision transformer over the whole image, then a two-layer MLP on each of its tokens."""

    kind: Literal["vit"]
    hidden: PositiveInt = 768


class CustomSymbols(Custom):
    """Logits (batch, patches, symbols per patch, vocabulary) of images (batch, 3, side, side)."""

    needs: ClassVar[Mapping[str, str]] = {
        "forward": "(images) -> logits (batch, patches, symbols per patch, vocabulary)"
    }


Symbols = Annotated[
    MlpSymbols | AffineSymbols | VitSymbols | CustomSymbols, Field(discriminator="kind")
]


class ResNet9Rank(Section):
    """PatchRank as a ResNet-9 with `width` channels in its first stage (sec. 3.4: 64)."""

    kind: Literal["resnet9"] = "resnet9"
    width: PositiveInt = 64


class ConvRank(Section):
    """PatchRank as three 3x3 convolutions of `width` * (1, 2, 2) channels, for small images."""

    kind: Literal["conv3"]
    width: PositiveInt = 16


class MobileNetRank(Section):
    """PatchRank as torchvision's MobileNet-V3-small; its map is the image's side over 32."""

    kind: Literal["mobilenet_v3_small"]


class VitRank(_Transformer):
    """PatchRank as a vision transformer over the patches."""

    kind: Literal["vit"]


class CustomRank(Custom):
    """Scores (batch, patches) of images (batch, 3, side, side): the higher, the sooner sent."""

    needs: ClassVar[Mapping[str, str]] = {"forward": "(images) -> scores (batch, patches)"}


Rank = Annotated[
    ResNet9Rank | ConvRank | MobileNetRank | VitRank | CustomRank, Field(discriminator="kind")
]


class SoftRank(Section):
    """Differentiable ranks of eq. 7: large strengths flatten them (Blondel et al. 2020, L2).

    `normalize` gives the importances of an image mean 0 and the spread of the ranks 1..K first,
    so that a strength means the same for every network and every K.
    """

    strength: PositiveFloat = 1.0
    normalize: bool = True
    implementation: Literal["auto", "minimax", "isotonic", "fast_soft_sort"] = "auto"


class BernoulliGate(Section):
    """Each patch is sent by chance, the more probably the higher its rank r of K (eq. 8).

    `law` odds: with probability r/K, held between `clamp` and 1 - `clamp`. `law` difference, as
    the authors' code has it: with probability sigmoid(2r/K - 1). A `soft` sample is a number
    between 0 and 1 and no decision: such a message is not discrete.
    """

    kind: Literal["bernoulli"] = "bernoulli"
    sample: Literal["hard", "soft"] = "hard"
    law: Literal["odds", "difference"] = "odds"
    temperature: PositiveFloat = 1.0
    clamp: Annotated[float, Field(ge=0, lt=0.5)] = 0.02


class _ShareGate(Section):
    share: OpenFraction = 0.5
    """Share of the patches that is sent."""


class TopGate(_ShareGate):
    """The `share` of the patches with the highest ranks is sent, always as many."""

    kind: Literal["top_k"]
    temperature: PositiveFloat = 0.1


class AllGate(Section):
    """Every patch is sent; nothing is ranked."""

    kind: Literal["all"]


class RandomGate(_ShareGate):
    """A `share` of the patches, chosen by chance, is sent; nothing is ranked."""

    kind: Literal["random_k"]


class AdaptiveGate(_ShareGate):
    """A Bernoulli gate whose length can vary with the image, `share` of all patches on average.

    Importances are normalised over the batch and not in each image, so an image may have many
    important patches. Ranks have the mean (K+1)/2 whatever the image shows; these do not.
    """

    kind: Literal["adaptive"]
    temperature: PositiveFloat = 1.0


class CustomGate(Custom):
    """Gates and importances (batch, patches) of images, see game/gates.py."""

    needs: ClassVar[Mapping[str, str]] = {
        "forward": "(images, noise) -> gates, importances, (batch, patches) each"
    }


Gate = Annotated[
    BernoulliGate | TopGate | AllGate | RandomGate | AdaptiveGate | CustomGate,
    Field(discriminator="kind"),
]


class Speaker(Section):
    """Names each patch with symbols and ranks the patches (sec. 3.2).

    `rank` is the network behind the gates that rank; gates `all` and `random_k` build none.
    """

    patch_size: PositiveInt = 7
    """Side of a patch in pixels, a divisor of `data.image_size`."""
    vocab_size: Annotated[int, Field(ge=2, le=65536)] = 128
    """V: how many symbols there are."""
    symbols_per_patch: Annotated[int, Field(ge=1, le=64)] = 1
    """l: how many of them name a patch."""
    symbol: Symbols = MlpSymbols()
    temperature: SymbolTemperature = SymbolTemperature()
    rank: Rank = ResNet9Rank()
    soft_rank: SoftRank = SoftRank()
    gate: Gate = BernoulliGate()


class Text(_Transformer):
    """The transformer that reads a message (sec. 3.3).

    `unsent` masked: patches that were not sent have no part in it. `unsent` scaled, as the
    authors' code has it: all slots stay and the symbols in them are multiplied by their gates.
    """

    norm: Literal["pre", "post"] = "pre"
    activation: Literal["gelu", "relu"] = "gelu"
    unsent: Literal["masked", "scaled"] = "masked"


class Conv4Vision(Section):
    """Four 3x3 convolutions of `width` * (1, 2, 2, 4) channels, made for small images.

    The image's side is halved until the map has 7 x 7 places or fewer; above 112 px the means of
    parts are taken. With `pool` flatten the projection sees each place, as a message of patches is
    about places; with mean their mean. Evaluations of features always take the mean.
    """

    kind: Literal["conv4"]
    width: PositiveInt = 16
    pool: Literal["mean", "flatten"] = "flatten"


class _ResNetVision(Section):
    width: PositiveInt = 64
    zero_init_residual: bool = False


class ResNet18Vision(_ResNetVision):
    """ResNet-18 with `width` channels in its first stage (sec. 3.4: 64)."""

    kind: Literal["resnet18"] = "resnet18"


class ResNet50Vision(_ResNetVision):
    """ResNet-50; its features are 32 times `width` wide."""

    kind: Literal["resnet50"]


class VitVision(_Transformer):
    """A vision transformer over patches of the speaker's size (sec. 3.3: ViT-tiny).

    ViT-small is {width: 384, heads: 6}.
    """

    kind: Literal["vit"]


class CustomVision(Custom):
    """Features of images: (batch, width), a map (batch, width, h, w) or tokens, the first <CLS>.

    The module says in its attribute `width` how wide they are.
    """

    needs: ClassVar[Mapping[str, str]] = {"forward": "(images) -> features (batch, width)"}


Vision = Annotated[
    ResNet18Vision | ResNet50Vision | Conv4Vision | VitVision | CustomVision,
    Field(discriminator="kind"),
]


class Head(Section):
    """The MLP from features to the space in which messages and images meet.

    With `wide`, a weight-normed linear layer to so many outputs follows the L2-normalised `out`,
    and its weights rest for `wide_frozen_epochs` (Caron et al. 2021; the authors' code: 65,536
    and 1).
    """

    hidden: PositiveInt = 2048
    out: PositiveInt = 256
    wide: PositiveInt | None = None
    wide_frozen_epochs: NonNegativeInt = 0

    @model_validator(mode="after")
    def _something_to_freeze(self) -> Self:
        if self.wide is None and self.wide_frozen_epochs:
            message = f"wants head.wide, whose weights rest, got {self.wide_frozen_epochs}"
            raise Wrong("wide_frozen_epochs", message, "wide")
        return self


class Listener(Section):
    """Matches messages to images by cosine similarity (sec. 3.3)."""

    text: Text = Text()
    vision: Vision = ResNet18Vision()
    head: Head = Head()


class Contrast(Section):
    """The contrastive loss of eq. 1-3 over the global batch.

    `temperature` is tau, learned or constant, never below `min_temperature`. `gather` detached,
    as the authors' code has it: other workers' embeddings carry no gradient.
    """

    temperature: PositiveFloat = 0.07
    learned: bool = True
    min_temperature: PositiveFloat | None = 0.01
    gather: Literal["whole", "detached"] = "whole"
    reduction: Literal["mean", "sum"] = "mean"

    @model_validator(mode="after")
    def _above_the_least(self) -> Self:
        if self.min_temperature is not None and self.temperature < self.min_temperature:
            message = f"wants at least min_temperature {self.min_temperature:g}"
            raise Wrong("temperature", f"{message}, got {self.temperature:g}", "min_temperature")
        return self


class _Optimizer(Section):
    lr: PositiveFloat = 5e-4
    """Peak of the learning rate, after the warm-up."""
    lr_batch_size: PositiveInt | None = 256
    """The batch for which `lr` is meant; null: it is taken as it is."""
    min_lr: NonNegativeFloat = 0.0
    """The learning rate at the end."""
    warmup_fraction: Fraction = 0.1
    """Share of training in which the learning rate rises."""
    clip_norm: PositiveFloat | None = None
    """The largest norm of a gradient."""
    weight_decay_end: NonNegativeFloat | None = None
    decayed: Literal["matrices", "all_but_vectors"] = "matrices"


class AdamW(_Optimizer):
    """AdamW; `lr` is meant for `lr_batch_size` images and scales linearly with the batch.

    The decay moves along a cosine to `weight_decay_end` where that is given. `decayed` matrices:
    no vectors, scalars and embeddings; all_but_vectors: every tensor that has not one dimension.
    """

    kind: Literal["adamw"] = "adamw"
    weight_decay: NonNegativeFloat = 0.05


class Sgd(_Optimizer):
    """Stochastic gradient descent with momentum (sec. 3.4)."""

    kind: Literal["sgd"]
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: NonNegativeFloat = 0.0


Optimizer = Annotated[AdamW | Sgd, Field(discriminator="kind")]


class Game(Section):
    """The game of the paper."""

    kind: Literal["game"] = "game"


class CustomMethod(Custom):
    """Another way to learn from two views of each image: a `Method` of methods.py."""

    needs: ClassVar[Mapping[str, str]] = {
        "forward": "(views, *, progress, noise) -> loss, metrics",
        "embed": "(views, *, progress, noise) -> text, image, metrics",
        "contrast": "(text, image) -> loss, top1",
        "networks": "() -> modules that torch.compile takes",
        "resting": "(epoch) -> parameters that do not learn in it",
        "play": "(views) -> GameOutput",
        "features": "(images) -> features (batch, width)",
    }


Method = Annotated[Game | CustomMethod, Field(discriminator="kind")]


class Validation(Section):
    """Success is measured among `pool_size` candidates, so that batch sizes can be compared."""

    pool_size: Annotated[int, Field(ge=2)] = 512
    """Candidates of which one is right; chance is 1 over it."""
    every_epochs: PositiveInt = 1
    views: Views | None = None
    """Of validation, the same exam whatever training sees; null: those of training."""


class Resources(Section):
    """Where a run lives. Nothing here changes its result, so nothing here is in its id.

    `device` auto: the GPU that `gpus_per_worker` asks for; without one Apple's MPS where the only
    worker's machine has it, else the CPU. MPS has no float64 (sums of metrics are float32 there),
    no fp16, no compile and no second worker, and its memory is not divided between trials.
    `micro_batch` images of a worker's share go through the networks at a time, which bounds the
    memory; the contrast is over the whole batch all the same (Gao et al. 2021). A worker with a
    fraction of a GPU is held to that fraction of its memory. `gib_per_worker` of the host's memory
    is kept for a worker where Ray places it; 0: nothing is said of memory. `cuda_graph` lets a
    GPU repeat a recorded step, which spares the host thousands of launches; where several workers,
    micro_batch, compile, fp16 or a class of one's own are in a run, it is not used.
    """

    workers: PositiveInt = 1
    """Processes that share a batch."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where the networks are; auto is said above."""
    micro_batch: PositiveInt | None = None
    cpus_per_worker: PositiveInt = 1
    gpus_per_worker: NonNegativeFloat = 0.0
    """A fraction shares a GPU between trials."""
    gib_per_worker: NonNegativeFloat = 0.0
    cuda_graph: bool = True


class Checkpoints(Section):
    """One at the end of each epoch, and after every `every_steps` steps where that is given.

    A run that is asked to stop (Ctrl-C, SIGTERM) has `grace_seconds` to leave one and return.
    """

    every_steps: PositiveInt | None = None
    grace_seconds: PositiveFloat = 60.0


class Experiment(Section):
    """One run of the game.

    `worker_noise` own: each image has its own draws, whatever worker it falls to. `worker_noise`
    same, as the authors' code has it: every worker draws the same numbers for its share.
    `compile` lets torch.compile rewrite the networks, which takes minutes at the first step.
    `batch_norm_images` are normalised by one another; null: the whole global batch.
    """

    seed: NonNegativeInt = 0
    """The seed of weights, order of the data and all random draws."""
    epochs: PositiveInt = 100
    """Passes over the training split."""
    batch_size: Annotated[int, Field(ge=2)] = 512
    """Images of a step over all workers, and candidates of each in the loss."""
    precision: Literal["auto", "bf16", "fp16", "float32"] = "auto"
    """auto: bf16 where the device has it, else float32."""
    compile: bool = False
    batch_norm_images: Annotated[int, Field(ge=2)] | None = None
    worker_noise: Literal["own", "same"] = "own"
    method: Method = Game()
    data: Data = Digits()
    views: Views = Views()
    speaker: Speaker = Speaker()
    listener: Listener = Listener()
    contrast: Contrast = Contrast()
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
        self._device_fits()
        workers = self.resources.workers
        if self.batch_size % workers:
            raise Wrong(
                "batch_size",
                f"wants a multiple of resources.workers {workers}, got {self.batch_size}",
                "resources.workers",
            )
        self._parts_fit(self.batch_size // workers)
        return self

    def _device_fits(self) -> None:
        """The device that is named is the one that the other keys are for."""
        device, gpus = self.resources.device, self.resources.gpus_per_worker
        if device == "cuda" and gpus == 0:
            raise Wrong("resources.device", "cuda wants resources.gpus_per_worker above 0")
        if device in ("cpu", "mps") and gpus > 0:
            message = f"{device} wants resources.gpus_per_worker 0, got {gpus:g}"
            raise Wrong("resources.device", message, "resources.gpus_per_worker")
        if device != "mps":
            return
        for key, wrong, wanted in (
            ("resources.workers", self.resources.workers > 1, "1"),
            ("compile", self.compile, "false"),
            ("precision", self.precision == "fp16", "auto, bf16 or float32"),
        ):
            if wrong:
                message = f"wants {wanted} where resources.device is mps"
                raise Wrong(key, message, "resources.device")

    def _parts_fit(self, share: int) -> None:
        """Groups of batch normalisation divide micro-batches, and those a worker's share."""
        group, part = self.batch_norm_images, self.resources.micro_batch
        if group is not None and share % group:
            message = f"wants a divisor of a worker's {share} images, got {group}"
            raise Wrong("batch_norm_images", message, "batch_size", "resources.workers")
        if part is None or part == share:
            return
        if share % part:
            message = f"wants a divisor of a worker's {share} images, got {part}"
            raise Wrong("resources.micro_batch", message, "batch_size", "resources.workers")
        if group is None or part % group:
            wanted = "null is the whole batch" if group is None else f"got {group}"
            raise Wrong(
                "batch_norm_images",
                f"wants a divisor of resources.micro_batch {part}, or its statistics would be of "
                f"another batch; {wanted}",
                "resources.micro_batch",
            )

    @property
    def patches(self) -> int:
        """K of the paper: patches of an image."""
        return (self.data.image_size // self.speaker.patch_size) ** 2

    @property
    def discrete(self) -> bool:
        """Whether every message is one-hot symbols times 0/1 gates (eq. 9)."""
        match self.speaker.gate:
            case BernoulliGate(sample=sample):
                return sample == "hard"
            case CustomGate() as gate:
                return bool(getattr(gate.load(), "discrete", True))
        return True

    def custom(self) -> Iterator[tuple[str, Custom]]:
        """The classes from outside the package, each with its key."""
        for key in CUSTOM:
            section: Any = self
            for part in key.split("."):
                section = getattr(section, part)
            if isinstance(section, Custom):
                yield key, section

    def deciding(self) -> dict[str, Any]:
        """All that decides the result: not where the run lives, nor where its data lie.

        With the authors' gather or noise the number of workers decides too. Of images of one's own
        `data.identity` tells all but their size.
        """
        deciding = self.model_dump(
            mode="json",
            exclude={
                "resources": True,
                "checkpoints": True,
                "data": {"path", "val_path", "loader_processes"},
            },
        )
        # What was not there when the first ids were given does not change them.
        if isinstance(self.method, Game):
            del deciding["method"]
        if self.validation.views is None:
            del deciding["validation"]["views"]
        for key, section in self.custom():
            *way, last = key.split(".")
            inner = deciding[way[0]] if way else deciding
            inner[last] = (
                section.model_dump(include={"kind", "image_size"})
                if isinstance(section, CustomData)
                else section.deciding()
            )
        if self.contrast.gather == "detached" or self.worker_noise == "same":
            deciding["workers"] = self.resources.workers
        return deciding


CUSTOM = ("method", "data", "speaker.symbol", "speaker.rank", "speaker.gate", "listener.vision")
"""The keys that can hold a class from outside the package."""
FOLDERS = tuple(f"{key}.folder" for key in CUSTOM)
"""Where their modules lie, which decides no result."""


def is_option(key: str) -> bool:
    """Whether a dotted key may be one of the options of a class from outside the package."""
    return any(key.startswith(f"{each}.options.") for each in CUSTOM)
