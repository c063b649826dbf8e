"""Other images of known classes, images from the field, sweeps and corruptions: how they are read and counted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from limits_reports import calm, share, shift
from limits_reports import corruptions as corrupted
from limits_reports import held_out as held_out_report
from scipy import stats

from transferkit.data import corruptions
from transferkit.data.images import Images
from transferkit.metrics.outputs import Outputs
from transferkit.ood import rejection
from transferkit.runs.run_directory import Run
from transferkit.runtime.console import SILENT
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.json_files import SCHEMAS
from transferkit.studies.limits import (
    comparison,
    corruption_severity,
    deployment,
    distribution_shift,
    gallery,
    nuisance,
    published,
)
from transferkit.studies.limits.comparison_page import limits_comparison_page
from transferkit.studies.limits.comparison_results import ComparedMeasure, LimitsComparison
from transferkit.studies.limits.image_sets import ImageSet
from transferkit.studies.limits.settings import LimitsSettings
from transferkit.studies.limits.story import Work

NAMES = ("airplane", "automobile", "bird")


def outputs_of(logits: Any, labels: Any, names: tuple[str, ...] = NAMES) -> Outputs:
    values = np.asarray(logits, np.float32)
    ids = tuple(map(str, range(len(values))))
    return Outputs(values[:, :2], values, np.asarray(labels, np.int64), ids, names)


def image_set(names: tuple[str, ...], labels: list[int]) -> ImageSet:
    pixels = np.arange(len(labels), dtype=np.uint8)[:, None, None, None] * np.ones((1, 3, 8, 8), np.uint8)
    return ImageSet("other", "somewhere", Images.from_pixels(pixels, labels, names), None, 8)


# ---- which images they are ----


def test_classes_are_matched_by_name_and_the_others_are_listed() -> None:
    found = distribution_shift.matched(image_set(("bird", "car", "monkey"), [0, 1, 1, 2]), NAMES)

    assert found.image_set.images.labels.tolist() == [2, 1, 1]
    assert found.shared == (1, 2)
    assert found.words == (
        "2 of the run's 3 classes; taken car as automobile; left out, because the run has no such class: monkey."
    )


def test_a_set_without_a_shared_class_points_to_the_other_option() -> None:
    with pytest.raises(TransferkitError, match=r"No class of other is a class of the run.*use --ood"):
        distribution_shift.matched(image_set(("monkey",), [0]), NAMES)


def subject_of(test: Outputs, side: int = 32) -> Any:
    images = Images.from_pixels(np.zeros((len(test), 3, side, side), np.uint8), test.labels, test.class_names, test.ids)
    limits = rejection.fit(test)
    return SimpleNamespace(
        test=test, val=test, limits=limits, side_px=side, fit="crop", bands=3, images=SimpleNamespace(test=images)
    )


def test_stl10_is_read_column_by_column_from_label_one(tmp_path: Path) -> None:
    pixels = np.zeros((2, 3, 96, 96), np.uint8)
    pixels[0, 0, 10, 20] = 200  # red, row 10, column 20
    pixels.transpose(0, 1, 3, 2).tofile(tmp_path / "test_X.bin")
    np.array([3, 8], np.uint8).tofile(tmp_path / "test_y.bin")

    read, labels = distribution_shift.stl10(tmp_path)

    assert read[0, 0, 10, 20] == 200
    assert [distribution_shift.STL10[label] for label in labels] == ["car", "monkey"]


def test_stl10_comes_at_the_size_of_the_run_with_shared_classes(tmp_path: Path) -> None:
    np.zeros((3, 3, 96, 96), np.uint8).tofile(tmp_path / "test_X.bin")
    np.array([1, 3, 8], np.uint8).tofile(tmp_path / "test_y.bin")
    subject = subject_of(outputs_of(np.eye(3), [0, 1, 2]))

    found = distribution_shift.load_shift(str(tmp_path), subject, LimitsSettings(), SILENT)

    assert found.image_set.images.size_px == (32, 32)
    assert found.image_set.images.labels.tolist() == [0, 1]
    assert not found.is_cifar101


def test_a_cut_off_stl10_says_what_is_missing(tmp_path: Path) -> None:
    np.zeros(1000, np.uint8).tofile(tmp_path / "test_X.bin")
    np.array([1], np.uint8).tofile(tmp_path / "test_y.bin")

    with pytest.raises(
        TransferkitError, match=r"1,000 bytes in test_X.bin for 1 label; expected 27,648 bytes per label"
    ):
        distribution_shift.stl10(tmp_path)


def test_cifar101_is_read_without_pickle(tmp_path: Path) -> None:
    np.save(tmp_path / "cifar10.1_v6_data.npy", np.full((2, 32, 32, 3), 7, np.uint8))
    np.save(tmp_path / "cifar10.1_v6_labels.npy", np.array([0, 2]))
    subject = subject_of(outputs_of(np.eye(3), [0, 1, 2]))

    found = distribution_shift.load_shift(str(tmp_path), subject, LimitsSettings(), SILENT)

    assert found.is_cifar101
    assert found.image_set.name == "CIFAR-10.1 v6"
    assert found.image_set.images.labels.tolist() == [0, 2]


def test_pickled_arrays_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "cifar10.1_v6_data.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.save(tmp_path / "cifar10.1_v6_labels.npy", np.array([0]))

    with pytest.raises(TransferkitError, match=r"Cannot read .*data.npy"):
        distribution_shift.cifar101(tmp_path, "v6")


# ---- estimates without labels ----


def of_confidence(shares: Any, labels: Any) -> Outputs:
    p = np.asarray(shares, dtype=np.float64)
    return outputs_of(np.log(np.stack([p, 1 - p], axis=1)), labels, ("cat", "dog"))


def test_atc_counts_images_above_the_confidence_that_leaves_out_as_many_as_val_has_errors() -> None:
    val = of_confidence([0.6, 0.7, 0.8, 0.9], [1, 0, 0, 0])  # one error of four: the threshold is .7

    assert distribution_shift.atc(val, of_confidence([0.65, 0.75, 0.95], [0, 0, 0])) == pytest.approx(2 / 3)


def test_atc_of_val_itself_is_its_accuracy() -> None:
    val = of_confidence(np.linspace(0.55, 0.99, 50), np.arange(50) % 5 == 0)

    assert distribution_shift.atc(val, val) == pytest.approx(0.8)


def test_doc_moves_the_accuracy_by_the_change_in_confidence() -> None:
    val = of_confidence([0.9, 0.9, 0.9, 0.9], [0, 0, 0, 1])

    assert distribution_shift.doc(val, of_confidence([0.7, 0.7], [0, 0])) == pytest.approx(0.75 - 0.2)


def test_effective_robustness_is_measured_from_the_published_line() -> None:
    own, there = np.arange(1000) < 950, np.arange(2000) < 1760

    found = distribution_shift.effective_robustness(own, there)

    predicted = stats.norm.cdf(0.949 * stats.norm.ppf(0.95) - 0.380)  # 88.1 %, beside the 88.0 % seen
    assert found.predicted == pytest.approx(predicted)
    assert "within noise" in found.words


def test_effective_robustness_is_not_told_outside_the_line() -> None:
    assert distribution_shift.effective_robustness(np.arange(100) < 60, np.arange(100) < 50).value is None


def test_masking_lets_shared_classes_answer_alone() -> None:
    outputs = outputs_of([[1, 2, 9], [5, 1, 9]], [1, 0])

    assert distribution_shift.masked_accuracy(outputs, (0, 1)) == 1.0
    assert distribution_shift.masked_accuracy(outputs, (0, 1, 2)) is None


# ---- the field ----


def test_energy_test_finds_a_shift_and_finds_none_where_there_is_none() -> None:
    generator = np.random.default_rng(0)
    known, same, moved = (generator.normal(size=(200, 4)).astype(np.float32) for _ in range(3))

    assert deployment.two_sample_p(known, moved + 0.5, seed=0) < 0.01
    assert deployment.two_sample_p(known, same, seed=0) > 0.05


def test_estimates_in_the_field_carry_how_wrong_they_were() -> None:
    row = replace(shift("other", there=0.6), atc=0.7, doc=0.75)

    assert deployment.estimate_words([row]) == "On the labelled sets above they were wrong by up to 15 points."
    assert "unknown" in deployment.estimate_words([])


# ---- sweeps and corruptions ----


def cell(value: float, accuracy: float) -> nuisance.SweepCell:
    return nuisance.SweepCell(value, share(accuracy), share(0.0))


def test_safe_range_ends_before_the_first_step_that_costs_five_points() -> None:
    clean = outputs_of(np.eye(3)[np.zeros(100, int)], np.zeros(100))  # accuracy 1
    cells = [cell(-0.2, 0.99), cell(-0.1, 0.9), cell(0.1, 0.96), cell(0.2, 0.95), cell(0.3, 0.9), cell(0.4, 0.99)]

    found = nuisance.safe_range(cells, 0.0, clean)

    assert found == nuisance.SafeRange(0.0, 0.2, "0 to 0.2")


def test_a_sweep_without_any_safe_step_says_none() -> None:
    clean = outputs_of(np.eye(3)[np.zeros(100, int)], np.zeros(100))

    assert nuisance.safe_range([cell(10, 0.5)], 0.0, clean).words == "none"


class _Store:
    """Answers right up to severity 2, and the first class after that."""

    def __init__(self, test: Outputs) -> None:
        self.test = test

    def missing(self, images: Images, name: str, limits: Any) -> int:
        del limits
        return len(images) if name else 0

    def expect(self, images: int) -> None:
        assert images == 75 * 30

    def judged(self, images: Images, change: Any, name: str, limits: Any, progress: Any) -> tuple[Outputs, Any]:
        del change, progress
        severity = int(name.partition("severity ")[2][0])
        right = np.eye(3, dtype=np.float32)[images.labels] * 5
        wrong = np.tile(np.float32([5, 0, 0]), (len(images), 1))
        said = Outputs(right[:, :0], right if severity <= 2 else wrong, images.labels, images.ids, NAMES)
        return said, limits.scores(said)


def test_breaking_point_silent_failures_and_means_of_corruptions() -> None:
    labels = np.arange(30) % 3
    test = outputs_of(np.eye(3)[labels] * 5, labels)
    subject = subject_of(test)
    subject.store = _Store(test)

    whole = corruption_severity.measure_corruptions(subject, LimitsSettings(corruptions="full"), SILENT)

    found, versions = whole.report, whole.arrays

    assert isinstance(found, corruption_severity.CorruptionReport)
    assert {row.breaking_point for row in found.corruptions} == {3}
    assert len(found.cells) == 75
    assert found.mca == pytest.approx((2 + 3 / 3) / 5)  # two severities right, three with a third right
    assert found.by_severity == pytest.approx({1: 1, 2: 1, 3: 1 / 3, 4: 1 / 3, 5: 1 / 3})
    assert found.cells[-1].silent.value == pytest.approx(2 / 3)
    assert found.retention == found.mca
    assert versions["corruptions.right"].tolist() == pytest.approx([1 if label == 0 else 0.4 for label in labels])


def test_own_corruptions_are_never_called_by_the_name_of_the_authors_files() -> None:
    words = corruption_severity.recipe_words(subject_of(outputs_of(np.eye(3), [0, 1, 2])), LimitsSettings())

    assert words.startswith("CIFAR-10-C recipe (transferkit")


def test_published_row_stands_beside_the_same_task_alone() -> None:
    test = outputs_of(np.eye(3), [0, 1, 2])

    assert not published.is_cifar10(subject_of(test))
    assert published.is_cifar10(
        subject_of(replace(test, class_names=published.CIFAR10, logits=np.eye(10, dtype=np.float32)[:3]))
    )
    assert set(published.CORRUPTIONS.by_corruption) == set(corruptions.FIFTEEN)
    assert np.mean(list(published.CORRUPTIONS.by_corruption.values())) == pytest.approx(0.7346, abs=0.005)


# ---- several runs ----


def limits_of(name: str, right: Any, unknown: Any, held_out: Any, ids: int = 200) -> comparison.RunLimits:
    """A run that is right on some test images and gives unknown images the scores stated; known ones score 0..1."""
    known = np.linspace(0, 1, ids)
    report = replace(
        calm(),
        leave_out=held_out_report(held_out),
        shift=(shift("stl10", own=0.9, there=0.7),),
        corruptions=corrupted(clean=0.9, mca=0.6),
    )
    scores = {
        "test.ids": np.arange(ids).astype(str),
        "test.prediction": np.asarray(right, dtype=np.int64),
        "test.label": np.ones(ids, np.int64),
        "test.knn": known,
        "stones.ids": np.arange(len(unknown)).astype(str),
        "stones.knn": np.asarray(unknown, dtype=np.float64),
    }
    return comparison.RunLimits(name, report, scores)


def test_runs_are_compared_to_the_first_on_the_same_images() -> None:
    first = limits_of("ft", np.arange(200) < 100, np.linspace(0, 1, 100), [0.5] * 6)
    second = limits_of("lp-ft", np.arange(200) < 160, np.linspace(0.5, 1.5, 100), [0.9] * 6)

    found = comparison.comparison_of([first, second], seed=0)

    by_name = {row.name: row for row in found.rows}
    assert by_name["own test images"].values == (0.5, 0.8)
    assert difference_of(by_name["own test images"]) == pytest.approx(0.3)
    assert by_name["stones"].values == pytest.approx([0.5, 0.875], abs=0.01)
    assert difference_of(by_name["held-out classes"]) == pytest.approx(0.4)
    assert found.verdict == (
        "The run lp-ft is better than the run ft on own test images, stones, held-out classes (3 measures, Holm).",
    )


def difference_of(row: ComparedMeasure) -> float:
    """Of the second run to the first."""
    first, second = row.differences
    assert first is None
    assert second is not None
    return second.difference


def test_a_comparison_is_read_as_it_was_written(tmp_path: Path) -> None:
    runs = [limits_of(name, np.arange(200) < 100, np.linspace(0, 1, 100), [0.5] * 6) for name in ("ft", "lp-ft")]
    found = comparison.comparison_of(runs, seed=0)

    found.write(tmp_path)

    assert LimitsComparison.read(tmp_path) == found


def test_where_nothing_differs_nothing_is_claimed() -> None:
    first = limits_of("ft", np.arange(200) < 100, np.linspace(0, 1, 100), [0.5, 0.6, 0.7])
    second = limits_of("lp-ft", np.arange(200) < 101, np.linspace(0, 1, 100), [0.5, 0.6, 0.7])

    found = comparison.comparison_of([first, second], seed=0)

    assert found.verdict == ("No difference was shown between the run lp-ft and the run ft (3 measures, Holm).",)


def test_runs_on_different_images_are_not_compared() -> None:
    first = limits_of("ft", np.ones(200), [1.0, 2.0], [0.5])
    second = limits_of("other", np.ones(100), [1.0, 2.0], [0.5], ids=100)

    with pytest.raises(TransferkitError, match="ft and other were tested on different images"):
        comparison.comparison_of([first, second], seed=0)


def test_a_run_named_twice_is_refused_and_equal_names_get_their_parents(tmp_path: Path) -> None:
    with pytest.raises(TransferkitError, match="named twice"):
        comparison.distinct_names([tmp_path / "a", tmp_path / "b" / ".." / "a"])

    assert comparison.distinct_names([tmp_path / "x" / "run", tmp_path / "y" / "run"]) == ["x/run", "y/run"]


def test_comparison_page_shows_differences_and_escapes_names() -> None:
    first = limits_of("ft", np.arange(200) < 100, np.linspace(0, 1, 100), [0.5] * 6)
    second = limits_of("<b>evil</b>", np.arange(200) < 160, np.linspace(0.5, 1.5, 100), [0.9] * 6)

    page = limits_comparison_page(comparison.comparison_of([first, second], seed=0))

    assert "<b>evil" not in page
    assert "+30.0 (" in page
    assert "ft, stl10: 90.0 % here, 70.0 % there" in page
    assert "ft, corrupted images: 90.0 % here, 60.0 % there" in page


def test_nearest_train_images_go_by_cosine() -> None:
    train = outputs_of([[1, 0, 0], [0, 1, 0], [9, 1, 0], [1, 1, 0]], [0, 1, 0, 1])
    unknown = outputs_of([[5, 0, 0]], [0])

    assert gallery.nearest(unknown, train, np.array([0])).tolist() == [[0, 2, 3]]


def test_a_report_of_an_earlier_version_is_not_compared_with_new_ones(tmp_path: Path) -> None:
    runs = [Run(tmp_path / name) for name in ("first", "second")]
    for run, schema in zip(runs, (SCHEMAS["limits.json"], 1), strict=True):
        (run.path / "limits").mkdir(parents=True)
        replace(calm(), schema=schema).write(run.path / "limits")

    with pytest.raises(TransferkitError, match=r"second.limits.limits.json was written by an earlier version"):
        comparison.require_same_settings([comparison.report_folder(run) for run in runs], LimitsSettings())


def test_reports_made_with_other_settings_are_refused_before_any_work(tmp_path: Path) -> None:
    runs = [Run(tmp_path / name) for name in ("first", "second")]
    for run, settings in zip(runs, (LimitsSettings(sweeps=False), LimitsSettings(seed=1)), strict=True):
        (run.path / "limits").mkdir(parents=True)
        replace(calm(), settings=settings).write(run.path / "limits")

    with pytest.raises(TransferkitError, match=r"Made with other settings: .*first.*, .*second.*--overwrite"):
        comparison.compare_limits(runs, LimitsSettings(), tmp_path / "out", Work("cpu", SILENT))

    assert not (tmp_path / "out").exists()
