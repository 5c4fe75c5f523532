"""Detection on photos in VOC's layout: the listener's network in the detector, what is refused."""

from __future__ import annotations

import tarfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.io import write_jpeg

from evals.detection import Options, evaluate, untrained
from pg_platform.config.experiment import Experiment
from pg_platform.data.voc import VOC_CLASSES, Photo, voc_photos
from pg_platform.evaluation.trained import Trained
from pg_platform.methods import build
from pg_platform.probes.average_precision import mean_precision
from pg_platform.probes.detector import detected, detector_on, learned, share, shown, truth_of
from pg_platform.store.store import Store
from tests.commands import run
from tests.small import SMALL, merged, write_experiment

PACK = Path(__file__).resolve().parents[2] / "shared" / "data" / "voc_mini" / "voc20_mini.tar"
CPU = torch.device("cpu")
LAWS = ("voc11", "vocall", "coco", "coco50")


def options(voc: Path, **changes: object) -> Options:
    given = {
        "voc": str(voc),
        "train_years": (2007,),
        "steps": 1,
        "batch": 2,
        "min_size": 64,
        "proposals": 32,
    }
    return Options.model_validate(given | changes)


@pytest.fixture(scope="module")
def listener() -> Trained:
    """A listener as the detector wants it, its normalisations moved by a few images."""
    changes = {"data": {"image_size": 96}, "listener": {"vision": {"width": 64}}}
    experiment = Experiment.model_validate(
        merged(SMALL, {**changes, "speaker": {"patch_size": 32}})
    )
    game = build(experiment)
    game.train()
    game.listener.features(torch.randn(4, 3, 96, 96, generator=torch.Generator().manual_seed(0)))
    return Trained(Path(), experiment, game.eval(), CPU)


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    """Two lists of photos: a bright square, its class told by its colour."""
    _write(tmp_path, "trainval", ["1", "2", "3"])
    _write(tmp_path, "test", ["4", "5"])
    return tmp_path


def _write(root: Path, split: str, names: Iterable[str]) -> None:
    year = root / "VOCdevkit" / "VOC2007"
    for folder in ("ImageSets/Main", "JPEGImages", "Annotations"):
        (year / folder).mkdir(parents=True, exist_ok=True)
    (year / f"ImageSets/Main/{split}.txt").write_text("".join(f"{name}\n" for name in names))
    for name in names:
        left, number = 8 * int(name), int(name) % 2
        pixels = torch.zeros(3, 64, 96, dtype=torch.uint8)
        pixels[number, 16:48, left : left + 32] = 255
        write_jpeg(pixels, str(year / f"JPEGImages/{name}.jpg"))
        box = f"<xmin>{left + 1}</xmin><ymin>17</ymin><xmax>{left + 32}</xmax><ymax>48</ymax>"
        (year / f"Annotations/{name}.xml").write_text(
            f"<annotation><object><name>{VOC_CLASSES[number]}</name>"
            f"<difficult>0</difficult><bndbox>{box}</bndbox></object>"
            f"<object><name>person</name><difficult>1</difficult><bndbox>{box}</bndbox></object>"
            "</annotation>"
        )


def test_the_body_of_the_detector_sees_what_the_listener_sees(listener: Trained, voc: Path) -> None:
    """In double, because in float32 the two take their sums in other orders."""
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randn(2, 3, 96, 96, generator=generator, dtype=torch.float64)
    game = build(listener.experiment)
    game.load_state_dict(dict(_state(listener)))
    detector = detector_on(game.listener.vision, options(voc)).double().train()
    last = detector.backbone.body(pixels)["3"].detach()
    wanted = game.double().eval().listener.vision(pixels).detach()
    assert last == pytest.approx(wanted, rel=1e-9, abs=1e-10)


def _state(trained: Trained) -> dict[str, torch.Tensor]:
    assert isinstance(trained.method, torch.nn.Module)
    return trained.method.state_dict()


def test_photos_have_the_boxes_of_their_files(voc: Path) -> None:
    photos = voc_photos(voc, [2007], "trainval")
    assert [photo.file.stem for photo in photos] == ["1", "2", "3"]
    assert photos[0].boxes.tolist() == [[8, 16, 40, 48]] * 2
    assert photos[0].classes.tolist() == [1, VOC_CLASSES.index("person")]
    assert photos[0].difficult.tolist() == [False, True]


@pytest.mark.parametrize("mirror", [False, True])
def test_boxes_go_where_the_photo_goes(voc: Path, mirror: bool) -> None:  # noqa: FBT001
    photo = _easy(voc_photos(voc, [2007], "trainval")[0])
    pixels, target = shown(photo, CPU, mirror=mirror)
    ((x0, y0, x1, y1),) = target["boxes"].int().tolist()
    green = pixels[1]
    assert green[y0:y1, x0:x1].mean() > 0.9
    assert green.sum() < 1.1 * green[y0:y1, x0:x1].sum()
    assert target["labels"].tolist() == [1 + VOC_CLASSES.index("bicycle")]


def test_it_learns_where_squares_are(listener: Trained, voc: Path) -> None:
    """Both losses and boxes are wired: boxes of photos it has seen are found, mirrored or not."""
    photos = voc_photos(voc, [2007], "trainval")
    easy = [_easy(photo) for photo in photos]
    chosen = options(voc, steps=25, batch=3, lr=0.002, warmup=0.2)
    game = untrained(listener.experiment, easy)
    before = mean_precision(
        truth_of(easy), detected(detector_on(game.listener.vision, chosen).eval(), easy, batch=2)
    )
    detector = learned(detector_on(game.listener.vision, chosen), easy, chosen)
    after = mean_precision(truth_of(easy), detected(detector, easy, batch=2))
    assert after["voc11"] > 0.5 > before["voc11"]


def _easy(photo: Photo) -> Photo:
    """Without its difficult boxes."""
    kept = ~photo.difficult
    return Photo(photo.file, photo.boxes[kept], photo.classes[kept], photo.difficult[kept])


def test_the_same_for_the_same_run_with_its_baseline(listener: Trained, voc: Path) -> None:
    once = evaluate(listener, options(voc, baseline=True))
    assert set(once.metrics) == {
        f"detection/{name}_{law}_s1x2_64px_n2" for name in ("map", "random_init") for law in LAWS
    }
    assert "NOT THE PAPER'S SCHEDULE" in once.words
    assert "over the 2 of VOC's 20 classes" in once.words
    table = once.tables["table2"]
    assert [row[:2] for row in table.rows] == [("aeroplane", 1), ("bicycle", 1)]
    own = [row[table.columns.index("map_voc11")] for row in table.rows]
    assert once.metrics["detection/map_voc11_s1x2_64px_n2"] == pytest.approx(np.mean(own))
    assert evaluate(listener, options(voc, baseline=True)).metrics == once.metrics


def test_a_loss_that_is_no_number_ends_it(listener: Trained, voc: Path) -> None:
    with pytest.raises(ValueError, match=r"the loss is .* at step [1-5]; a lower --set lr="):
        evaluate(listener, options(voc, steps=6, lr=1e9, clip=1e9, warmup=0))


def test_the_learning_rate_rises_and_falls_twice(voc: Path) -> None:
    chosen = options(voc, steps=24, warmup=0.5)
    shares = [share(step, chosen) for step in range(24)]
    assert shares[:12] == pytest.approx([(i + 1) / 12 for i in range(12)])
    assert shares[12:] == pytest.approx([1] * 6 + [0.1] * 4 + [0.01] * 2)


@pytest.mark.parametrize(
    ("vision", "told"),
    [
        ({"width": 4}, "resnet18 of width 4.*width: 64"),
        ({"kind": "resnet50", "width": 64}, "looks with resnet50,"),
        ({"width": 64}, "images of 16 pixels.*image_size over 64"),
    ],
)
def test_another_network_is_refused(
    vision: dict[str, object], told: str, listener: Trained, voc: Path
) -> None:
    experiment = Experiment.model_validate(merged(SMALL, {"listener": {"vision": vision}}))
    with pytest.raises(ValueError, match=told):
        evaluate(replace(listener, experiment=experiment), options(voc))


def test_missing_lists_and_photos_are_named(listener: Trained, voc: Path) -> None:
    with pytest.raises(ValueError, match=r"no list .*VOC2012.ImageSets.Main.trainval\.txt"):
        evaluate(listener, Options(voc=str(voc)))
    with pytest.raises(ValueError, match="2 photos of test are in test too"):
        evaluate(listener, options(voc, train="test"))
    (voc / "VOCdevkit/VOC2007/JPEGImages/4.jpg").unlink()
    with pytest.raises(ValueError, match=r"no file .*4\.jpg"):
        evaluate(listener, options(voc))


def test_a_photo_that_is_none_is_named(listener: Trained, voc: Path) -> None:
    (voc / "VOCdevkit/VOC2007/JPEGImages/2.jpg").write_bytes(b"no photo")
    with pytest.raises(ValueError, match=r"2\.jpg cannot be decoded"):
        evaluate(listener, options(voc, batch=3))


def test_a_split_with_nothing_to_find_is_refused_before_learning(
    listener: Trained, voc: Path
) -> None:
    for name in ("4", "5"):
        file = voc / f"VOCdevkit/VOC2007/Annotations/{name}.xml"
        file.write_text(file.read_text().replace("<difficult>0", "<difficult>1"))
    for name in ("1", "2", "3"):
        (voc / f"VOCdevkit/VOC2007/JPEGImages/{name}.jpg").write_bytes(b"not looked at")
    with pytest.raises(ValueError, match="all boxes of the split are difficult"):
        evaluate(listener, options(voc))


def test_pg_eval_stores_it_and_a_mistake_leaves_nothing(voc: Path, tmp_path: Path) -> None:
    """One clear error without photos; then metrics, table, figure and words, on the run itself."""
    changes = {
        "epochs": 1,
        "batch_size": 4,
        "data": {"image_size": 96, "count": 16},
        "speaker": {"patch_size": 32},
        "listener": {"vision": {"width": 64}},
        "validation": {"pool_size": 2},
    }
    file, home = write_experiment(tmp_path, changes), tmp_path / "home"
    assert run(["pg-train", str(file), "--local"], home).returncode == 0
    with Store.open(home) as store:
        (trained,) = store.finished_trials("train")
    small = ["train_years=[2007]", "steps=1", "batch=2", "min_size=64", "proposals=32"]
    for wrong, told in (
        ([], "voc: "),
        ([f"voc={tmp_path / 'none'}"], "voc: no list"),
    ):
        done = run(["pg-eval", "detection", trained.run_id, *_set(*small, *wrong)], home)
        assert (done.returncode, done.stdout) == (2, "")
        assert told in done.stderr
        assert "Traceback" not in done.stderr
    with Store.open(home) as store:
        assert store.finished_trials("train")[0].metrics == trained.metrics
    done = run(["pg-eval", "detection", trained.run_id, *_set(*small, f"voc={voc}")], home)
    assert done.returncode == 0, done.stderr
    with Store.open(home) as store:
        (after,) = store.finished_trials("train")
    assert {*after.metrics} - {*trained.metrics} == {
        f"detection/map_{law}_s1x2_64px_n2" for law in LAWS
    }
    kept = {path.name for path in home.rglob("detection/*")}
    assert {"boxes.png", "boxes.svg", "table2.json", "words.md"} <= kept


def _set(*overrides: str) -> list[str]:
    return [word for override in overrides for word in ("--set", override)]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("person", "zebra", "names 'zebra'"),
        ("<xmin>9<", "<xmin>99<", "ends before it begins"),
        ("<xmin>9<", "<xmin>x<", "edge 'x'"),
        ("<xmin>9<", "<xmin>nan<", "edge 'nan'"),
        ("</annotation>", "", "is no XML"),
    ],
)
def test_wrong_annotations_are_named(voc: Path, old: str, new: str, told: str) -> None:
    file = voc / "VOCdevkit/VOC2007/Annotations/1.xml"
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(ValueError, match=rf"1\.xml.*{told}"):
        voc_photos(voc, [2007], "trainval")


def test_real_photos(listener: Trained, tmp_path: Path) -> None:
    if not PACK.is_file():
        pytest.skip(f"{PACK} is not here")
    with tarfile.open(PACK) as packed:
        packed.extractall(tmp_path, filter="data")
    folder = tmp_path / "voc20_mini"
    train, test = (voc_photos(folder, [2012], split) for split in ("train", "val"))
    assert len(np.unique(truth_of(test).classes)) == len(VOC_CLASSES)
    chosen = options(folder)
    detector = learned(
        detector_on(untrained(listener.experiment, train).listener.vision, chosen),
        train[:2],
        chosen,
    )
    values = mean_precision(truth_of(test[:3]), detected(detector, test[:3], batch=2))
    assert all(0 <= value <= 1 for value in values.values())
