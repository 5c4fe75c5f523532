"""Average precision: cases worked by hand, and COCO's against pycocotools."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO  # type: ignore[import-untyped]
from pycocotools.cocoeval import COCOeval  # type: ignore[import-untyped]

from pg_platform.probes.average_precision import Detections, GroundTruth, mean_precision, overlaps

IMAGES, CLASSES = 5, 3


def truth(*rows: tuple[int, int, float, bool]) -> GroundTruth:
    """Boxes ten pixels square of (image, class, left edge, difficult)."""
    images, classes, left, difficult = (np.array(column) for column in zip(*rows, strict=True))
    return GroundTruth(images, classes, _squares(left), difficult)


def found(*rows: tuple[int, int, float, float]) -> Detections:
    """Likewise of (image, class, left edge, score)."""
    images, classes, left, scores = (np.array(column) for column in zip(*rows, strict=True))
    return Detections(images, classes, _squares(left), scores)


def _squares(left: np.ndarray) -> np.ndarray:
    left = left.astype(float)
    return np.stack((left, 0 * left, left + 10, 0 * left + 10), axis=1)


def test_a_case_worked_by_hand() -> None:
    """Right, wrong, right, right of four boxes: recalls 1/4, 1/2, 3/4 at precisions 1, 2/3, 3/4.

    From recall 0 to 0.25 the best precision is 1, from there to 0.75 it is 3/4, then 0. Of the
    recalls 0, 0.1 ... 1 three are up to 0.25 and five more up to 0.75.
    """
    boxes = truth(*((0, 7, left, False) for left in (0, 20, 40, 60)))
    seen = found((0, 7, 0, 0.9), (0, 7, 90, 0.8), (0, 7, 20, 0.7), (0, 7, 40, 0.6))
    values = mean_precision(boxes, seen)
    assert values["voc11"] == pytest.approx((3 * 1 + 5 * 3 / 4) / 11)
    assert values["vocall"] == pytest.approx(0.25 * 1 + 0.5 * 3 / 4)
    assert values["coco50"] == pytest.approx((26 * 1 + 50 * 3 / 4) / 101)


def test_a_recall_of_three_tenths_is_reached_by_three_of_ten() -> None:
    boxes = truth(*((0, 0, 20.0 * i, False) for i in range(10)))
    seen = found(*((0, 0, 20.0 * i, 0.9 - 0.1 * i) for i in range(3)))
    assert mean_precision(boxes, seen)["voc11"] == pytest.approx(4 / 11)


def test_a_difficult_box_counts_neither_way() -> None:
    easy = truth((0, 0, 0, False))
    both = truth((0, 0, 0, False), (0, 0, 50, True))
    sure = found((0, 0, 50, 0.9), (0, 0, 51, 0.8), (0, 0, 0, 0.7))
    only = mean_precision(easy, found((0, 0, 0, 0.7)))
    assert mean_precision(both, sure)["voc11"] == only["voc11"] == 1
    assert mean_precision(easy, sure)["vocall"] == pytest.approx(1 / 3)
    # COCO lets a difficult box excuse one detection, VOC any number.
    assert mean_precision(both, sure)["coco50"] == pytest.approx(1 / 2)


def test_a_box_found_twice_is_wrong_the_second_time() -> None:
    boxes = truth((0, 0, 0, False), (1, 0, 0, False))
    seen = found((0, 0, 0, 0.9), (0, 0, 1, 0.8), (1, 0, 0, 0.7))
    assert mean_precision(boxes, seen)["vocall"] == pytest.approx(0.5 + 0.5 * 2 / 3)


def test_another_image_or_class_does_not_count_and_absent_classes_are_left_out() -> None:
    boxes = truth((0, 0, 0, False), (1, 1, 0, False), (1, 2, 0, True))
    seen = found((1, 0, 0, 0.9), (1, 1, 0, 0.9), (1, 2, 40, 0.9), (0, 9, 0, 0.9))
    assert mean_precision(boxes, seen)["vocall"] == 0.5


def test_nothing_found_is_zero_and_nothing_to_find_is_refused() -> None:
    nothing = Detections(np.zeros(0, int), np.zeros(0, int), np.zeros((0, 4)), np.zeros(0))
    assert set(mean_precision(truth((0, 0, 0, False)), nothing).values()) == {0.0}
    with pytest.raises(ValueError, match="all boxes of the split are difficult"):
        mean_precision(truth((0, 0, 0, True)), nothing)


def test_overlaps_count_the_pixels_of_a_voc_file() -> None:
    """Pixels 1 to 10 and 6 to 15 of one row share five of fifteen."""
    one, other = np.array([[0.0, 0, 10, 1]]), np.array([[5.0, 0, 15, 1]])
    assert overlaps(one, other).item() == pytest.approx(5 / 15)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 25), st.integers(0, 150))
def test_coco_equals_pycocotools(seed: int, boxes: int, detections: int) -> None:
    rng = np.random.default_rng(seed)
    there = GroundTruth(
        rng.integers(IMAGES, size=boxes),
        rng.integers(CLASSES, size=boxes),
        _boxes(rng, boxes),
        np.append(False, rng.random(boxes - 1) < 0.3),
    )
    # Most detections are boxes a little moved, some of them of another image or class.
    like = rng.integers(boxes, size=detections)
    stray = rng.random(detections) < 0.2
    seen = Detections(
        np.where(stray, rng.integers(IMAGES, size=detections), there.images[like]),
        np.where(stray, rng.integers(CLASSES, size=detections), there.classes[like]),
        there.boxes[like] + rng.normal(scale=1.5, size=(detections, 4)),
        rng.random(detections).round(2),
    )
    values = mean_precision(there, seen)
    wanted = _pycocotools(there, seen)
    assert (values["coco"], values["coco50"]) == pytest.approx(wanted, abs=1e-12)


def test_coco_counts_the_surest_of_many_detections_as_pycocotools_does() -> None:
    """More of them in one image than it looks at, the right one the least sure."""
    boxes = truth((0, 0, 0, False), (1, 0, 0, False))
    crowd = [(0, 0, 50.0 + i, 0.9 - 1e-3 * i) for i in range(120)]
    seen = found((1, 0, 0, 0.99), *crowd, (0, 0, 0, 0.1))
    assert mean_precision(boxes, seen)["coco50"] == pytest.approx(_pycocotools(boxes, seen)[1])
    assert mean_precision(boxes, seen)["voc11"] > mean_precision(boxes, seen)["coco50"]


def _boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    low, size = rng.uniform(0, 60, (count, 2)), rng.uniform(8, 40, (count, 2))
    return np.concatenate((low, low + size), axis=1)


def _pycocotools(there: GroundTruth, seen: Detections) -> tuple[float, float]:
    """AP and AP50. A box beyond all areas is ignored there, as a difficult one, and no crowd."""
    coco = COCO()
    coco.dataset = {
        "images": [{"id": i + 1} for i in range(IMAGES)],
        "categories": [{"id": c + 1} for c in range(CLASSES)],
        "annotations": [
            {**row, "id": i + 1, "iscrowd": 0, "area": 1e12 if difficult else 1.0}
            for i, (row, difficult) in enumerate(
                zip(_rows(there.images, there.classes, there.boxes), there.difficult, strict=True)
            )
        ],
    }
    results = [
        {**row, "score": float(score)}
        for row, score in zip(
            _rows(seen.images, seen.classes, seen.boxes), seen.scores, strict=True
        )
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
        detections = coco.loadRes(results) if results else COCO()
        judge = COCOeval(coco, detections, "bbox")
        judge.params.imgIds = list(range(1, IMAGES + 1))
        judge.params.catIds = list(range(1, CLASSES + 1))
        judge.evaluate()
        judge.accumulate()
    precision = judge.eval["precision"][:, :, :, 0, -1]
    of_all, at_half = precision[precision > -1], precision[0][precision[0] > -1]
    return float(of_all.mean()), float(at_half.mean())


def _rows(images: np.ndarray, classes: np.ndarray, boxes: np.ndarray) -> list[dict[str, object]]:
    sizes = boxes[:, 2:] - boxes[:, :2]
    return [
        {"image_id": int(i) + 1, "category_id": int(c) + 1, "bbox": [*box[:2], *size]}
        for i, c, box, size in zip(images, classes, boxes.tolist(), sizes.tolist(), strict=True)
    ]
