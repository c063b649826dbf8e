"""Suspects, strips, kinds and figures of the limits report: what is shown beside the numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import limits_reports
import numpy as np
import pytest
from scipy.stats import norm

from transferkit.data.images import Images
from transferkit.metrics.outputs import Outputs
from transferkit.models.stored_model import WeightsRecord
from transferkit.studies.limits import contamination, gallery, open_world, probit, published
from transferkit.studies.limits import figures as limits_figures
from transferkit.studies.limits.image_sets import ImageSet
from transferkit.studies.limits.leave_out import HeldOutRow, HeldOutScore
from transferkit.studies.limits.probit import Point
from transferkit.studies.limits.report import LimitsReport
from transferkit.studies.limits.shares import NotMeasured, share_of
from transferkit.studies.limits.strips import strips, typical

NAMES = ("cat", "dog")


def outputs_of(features: Any, predictions: Any, labels: Any = None, ids: Any = None) -> Outputs:
    rows = np.asarray(features, np.float32)
    truth = np.zeros(len(rows), np.int64) if labels is None else np.asarray(labels, np.int64)
    logits = np.eye(2, dtype=np.float32)[predictions] * 5
    return Outputs(rows, logits, truth, tuple(ids or map(str, range(len(rows)))), NAMES)


def noise(count: int, seed: int, names: tuple[str, ...] = NAMES) -> Images:
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 3, 16, 16), dtype=np.uint8)
    return Images.from_pixels(pixels, np.zeros(count), names)


def guarded(images: Images, features: Any) -> contamination.Contamination:
    """Two train images along the first axis; val images along the second, far from them."""
    train = noise(2, seed=0)
    val = outputs_of([[0, 1], [0.1, 1]] * 20, [0] * 40)
    subject: Any = SimpleNamespace(
        images=SimpleNamespace(train=train), train=outputs_of([[1, 0], [1, 0.1]], [0, 0]), val=val, test=val
    )
    found = ImageSet("stones", "", images, None, 16)
    return contamination.contamination_of(found, outputs_of(features, [0] * len(images)), subject)


# ---- the overlap guard ----


def test_other_images_with_the_features_of_a_train_image_are_close() -> None:
    guard = guarded(noise(40, 1, ("stone",)), [[1, 0]] * 3 + [[-1, -1]] * 37)

    assert guard.overlap.close.hits == 3  # 7.5 %, of which 5 % may be chance
    assert [suspect.reason for suspect in guard.listed] == ["close"] * 3
    assert guard.listed[0].cosine == pytest.approx(1)


def test_a_set_far_from_train_has_no_suspects() -> None:
    guard = guarded(noise(40, 1, ("stone",)), [[-1, -1]] * 40)

    assert not guard.overlap.is_warning
    assert guard.listed == ()


def test_a_known_name_whose_images_were_dropped_is_no_warning() -> None:
    images = replace(noise(40, 1), class_names=("stone", "tabby cat"))

    assert guarded(images, [[-1, -1]] * 40).overlap.names == ()


# ---- one image through the severities ----


def test_the_image_of_a_strip_is_right_up_to_the_breaking_point_and_wrong_from_there() -> None:
    right = np.array([[1, 1, 0, 1], [1, 0, 0, 1], [0, 0, 0, 1]], bool)  # severities 1, 3, 5 by image
    clean = np.ones(4, bool)

    assert typical(clean, right, (1, 3, 5), 3, 0) == 1
    assert typical(clean, right, (1, 3, 5), 5, 0) == 0
    assert typical(clean, right, (1, 3, 5), 1, 0) == 2
    assert typical(clean, right, (1, 3, 5), None, 0) == 3
    assert typical(np.zeros(4, bool), right, (1, 3, 5), 3, 0) is None


def test_a_strip_tells_every_step_and_holds_its_pictures() -> None:
    images = noise(2, 0)
    clean = outputs_of(np.zeros((2, 1)), [0, 1], [0, 1])
    found = {("fog", 1): clean, ("fog", 5): outputs_of(np.zeros((2, 1)), [0, 0], [0, 1])}

    (strip,) = strips(images, clean, found, {"fog": 5}, lambda version, index: images.pixels[index] // version[1])

    assert (strip.id, strip.label) == ("1", "dog")
    assert [(step.severity, step.called, step.right) for step in strip.steps] == [
        (0, "dog", True),
        (1, "dog", True),
        (5, "cat", False),
    ]
    assert np.array_equal(strip.pictures.pixels[2], images.pixels[1] // 5)


# ---- kinds of rejected images ----


def test_one_of_each_kind_stands_for_its_group() -> None:
    features = np.concatenate([np.eye(20)[[0] * 5], np.eye(20)[[1] * 3], np.eye(20)[[2]]]).astype(np.float32)

    chosen, sizes = gallery.one_of_each(features * 7, seed=0)

    assert sizes == [5, 3, 1]
    assert [features[index].argmax() for index in chosen] == [0, 1, 2]


def test_no_rejected_image_has_no_kind() -> None:
    chosen, sizes = gallery.one_of_each(np.zeros((0, 4), np.float32), seed=0)

    assert (len(chosen), sizes) == (0, [])


# ---- held-out classes in the open world ----


def test_held_out_classes_count_as_unknown_images_of_the_open_world() -> None:
    rows = tuple(
        HeldOutRow((), share.n, {"knn": HeldOutScore(0.9, None, share)}, {}, None)
        for share in (share_of(np.arange(10) < 3), share_of(np.arange(5) < 1))
    )
    report = replace(limits_reports.held_out([0.9]), rows=rows)

    accepted = open_world.accepted_when_held_out(report, "knn")

    assert accepted is not None
    assert (accepted.sum(), len(accepted)) == (4, 15)
    assert open_world.accepted_when_held_out(report, "msp") is None
    assert open_world.accepted_when_held_out(NotMeasured("not asked for"), "knn") is None


# ---- published rows ----


def test_published_differences_name_accuracy_pretraining_and_jpeg() -> None:
    test = outputs_of(np.zeros((4, 1)), [0, 0, 0, 1], ids=["a.jpg", "b.JPEG", "c.jpg", "d.jpg"])
    facts = SimpleNamespace(data=SimpleNamespace(n=SimpleNamespace(train=4500)))
    run = SimpleNamespace(facts=facts, model=SimpleNamespace(weights=WeightsRecord("file", "tiny.safetensors")))

    told = published.differences_from_published(SimpleNamespace(test=test, run=run))  # type: ignore[arg-type]

    assert told[0].startswith("This run is right on 75.0 % of its test images, the published networks on 95.1 %")
    assert "pretrained (tiny.safetensors)" in told[1]
    assert "JPEG" in told[2]


def test_published_means_agree_with_the_rows_by_set() -> None:
    """OpenOOD's far mean is the unweighted mean over its four far sets."""
    for score in ("msp", "energy", "knn", "vim"):
        mean = np.mean([published.BY_SET[name][score] for name in ("mnist", "svhn", "textures", "places365")])
        assert mean == pytest.approx(published.MEANS.far[score], abs=2e-4)


# ---- probit axes ----


def test_points_lie_where_the_normal_quantile_puts_them() -> None:
    point = Point(0.9, 0.7, (0.6, 0.8), "stl10")

    frame = probit.frame_of([point])

    assert frame.x_range[0] < norm.ppf(0.9) < frame.x_range[1]
    assert frame.y_range[0] < norm.ppf(0.6) < norm.ppf(0.8) < frame.y_range[1]


def test_the_diagonal_ends_at_the_frame() -> None:
    frame = probit.Frame((0.0, 2.0), (1.0, 1.5))

    assert probit.ends(frame, 1.0, 0.0) == ((1.0, 1.0), (1.5, 1.5))
    assert probit.ends(frame, 1.0, 9.0) is None


def test_names_in_a_scatter_are_escaped() -> None:
    drawn = probit.scatter([Point(1.0, 0.0, (), "<script>")], [probit.ProbitLine(0.949, -0.38)])

    assert "<script>" not in drawn
    assert "&lt;script&gt;" in drawn


# ---- figures for slides ----


def test_every_figure_is_an_svg_whose_text_is_escaped(tmp_path: Path) -> None:
    written = limits_figures.write_figures(tmp_path / "figs", figure_report("</text><script>alert(1)</script>"))

    names = [path.name for path in written]
    assert names == [
        "reliability.svg",
        "risk-coverage.svg",
        "corruptions-by-family.svg",
        "corruptions.svg",
        "other-images-probit.svg",
        "unknown-1-text-script-alert-1-script.svg",
        "open-world.svg",
    ]
    for path in written:
        text = path.read_text(encoding="utf-8")
        assert "<svg" in text
        assert "<script" not in text


def test_a_figure_of_ones_own_beside_those_of_the_report_stays(tmp_path: Path) -> None:
    (tmp_path / "figs").mkdir()
    (tmp_path / "figs" / "mine.svg").touch()

    report = replace(figure_report("a"), shift=(), corruptions=NotMeasured("not asked for"))
    limits_figures.write_figures(tmp_path / "figs", report)

    assert (tmp_path / "figs" / "mine.svg").exists()


def figure_report(name: str) -> LimitsReport:
    """A report in which every figure has something to draw."""
    calm = limits_reports.calm()
    return replace(
        calm,
        shift=(limits_reports.shift(name),),
        unknown=replace(calm.unknown, sets=(limits_reports.unknown_set(name),)),
        open_world=limits_reports.open_world(name),
    )
