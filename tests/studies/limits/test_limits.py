"""The limits report: images from elsewhere, what is counted about them, the summary, and one small run end to end."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from limits_reports import calm, changed, error_slice, held_out, open_world, share, shift
from PIL import Image
from typer.testing import CliRunner

import transferkit
from transferkit.cli.app import app
from transferkit.data.images import Images
from transferkit.features import keys
from transferkit.metrics.grouped import share_interval
from transferkit.metrics.outputs import Outputs
from transferkit.recipe import from_options as recipe_of
from transferkit.runs import result_folders
from transferkit.runs.result_folders import LIMITS, require_free
from transferkit.runs.run_directory import Run, open_run
from transferkit.runtime.console import SILENT
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.records import as_json, from_json
from transferkit.studies.limits import (
    abstaining,
    calls,
    contamination,
    detectors,
    image_sets,
    leave_out,
    low_level,
    out_of_distribution,
)
from transferkit.studies.limits.abstaining import Promise
from transferkit.studies.limits.contamination import NamePair
from transferkit.studies.limits.in_distribution import CalibrationRow
from transferkit.studies.limits.leave_out import HeldOutReport
from transferkit.studies.limits.low_level import LowLevel
from transferkit.studies.limits.page import limits_page, risk_drawing
from transferkit.studies.limits.report import LimitsReport, SummaryLine
from transferkit.studies.limits.settings import HALVED, LimitsSettings, Rules, from_options
from transferkit.studies.limits.shares import NotMeasured, Share, share_of
from transferkit.studies.limits.story import Work, is_asked_for_more, measure_limits
from transferkit.studies.limits.subject import (
    LimitsSubject,
    halves,
    linear_head,
    open_subject,
    rows,
    same_images,
    why_no_val,
)
from transferkit.studies.limits.summary import NO_LIMIT, shortest, summary

NAMES = ("cat", "dog", "ship")


def pictures(folder: Path, count: int, side: int = 12, seed: int = 0) -> Path:
    """Noise as PNG files."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    for index, each in enumerate(pixels):
        Image.fromarray(each).save(folder / f"{index:03d}.png")
    return folder


def load(source: Path | str, side: int = 8, limit: int = 100) -> image_sets.ImageSet:
    return image_sets.load(str(source), side, limit, 0, SILENT)


# ---- images from elsewhere ----


def test_images_come_at_the_size_of_the_run_and_in_their_own(tmp_path: Path) -> None:
    found = load(pictures(tmp_path / "stones", 3, side=24))

    assert found.images.size_px == (8, 8)
    assert found.native is not None
    assert (found.native.size_px, found.native_px) == ((24, 24), 24)


def test_images_of_about_the_same_size_have_no_second_column(tmp_path: Path) -> None:
    assert load(pictures(tmp_path / "stones", 3, side=8)).native is None


def test_classes_are_the_folders_below_or_else_the_folder_itself(tmp_path: Path) -> None:
    pictures(tmp_path / "flat", 2)
    pictures(tmp_path / "deep" / "red" / "inner", 2)
    pictures(tmp_path / "deep" / "blue", 1)

    assert load(tmp_path / "flat").images.class_names == ("flat",)
    assert load(tmp_path / "deep").images.class_names == ("blue", "red")


def test_of_train_and_test_the_test_folder_is_taken_and_said(tmp_path: Path) -> None:
    pictures(tmp_path / "set" / "train" / "red", 3)
    pictures(tmp_path / "set" / "test" / "red", 2)

    found = load(tmp_path / "set")

    assert len(found) == 2
    assert found.notes[0].endswith("its test folder was taken")


def test_a_set_can_be_given_a_name(tmp_path: Path) -> None:
    assert load(f"stones={pictures(tmp_path / 'val', 2)}").name == "stones"


def test_a_file_beside_the_folder_names_the_classes(tmp_path: Path) -> None:
    pictures(tmp_path / "set" / "n01", 1)
    (tmp_path / "set.classes.tsv").write_text("n01\tgoldfish, Carassius\n")

    assert load(tmp_path / "set").images.class_names == ("goldfish, Carassius",)


def test_of_too_many_images_a_sample_is_drawn(tmp_path: Path) -> None:
    assert len(load(pictures(tmp_path / "stones", 9), limit=4)) == 4


def test_a_folder_without_images_says_what_is_expected(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    with pytest.raises(TransferkitError, match=r"empty holds no image. Expected files that end in"):
        load(tmp_path / "empty")


def test_a_folder_of_unreadable_images_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_bytes(b"no image")

    with pytest.raises(TransferkitError, match=r"0 of 1 image in .*bad can be read: a.png"):
        load(tmp_path / "bad")


def test_some_unreadable_images_are_counted_and_listed(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "stones", 2)
    (folder / "broken.png").write_bytes(b"no image")

    found = load(folder)

    assert len(found) == 2
    assert "1 of 3 files" in found.notes[0]
    assert "broken.png" in found.notes[0]


def test_a_slip_in_a_data_set_name_names_the_nearest() -> None:
    with pytest.raises(TransferkitError, match=r"svnh is neither a folder nor a data set. Did you mean 'svhn'"):
        load("svnh")


def test_dropped_classes_go_by_any_of_their_names(tmp_path: Path) -> None:
    pictures(tmp_path / "set" / "n01", 2)
    pictures(tmp_path / "set" / "n02", 3)
    (tmp_path / "set.classes.tsv").write_text("n01\ttabby, tabby cat\nn02\tgoldfish\n")

    found = image_sets.without_classes(load(tmp_path / "set"), ["Tabby Cat"])

    assert len(found) == 3
    assert found.notes[-1] == "set: 2 images of 1 class dropped: tabby"


def test_dropped_classes_may_stand_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "known.txt").write_text("# cats\ntabby, tabby cat\n\nkoala\n")

    assert image_sets.dropped_classes([str(tmp_path / "known.txt"), "a, b"]) == ["tabby, tabby cat", "koala", "a", "b"]


def test_a_class_to_drop_that_is_nowhere_is_a_slip(tmp_path: Path) -> None:
    found = load(pictures(tmp_path / "stones", 2))

    with pytest.raises(TransferkitError, match=r"no set has a class 'stone'. Did you mean 'stones'"):
        image_sets.require_dropped([found], ["stone"])


# ---- what is counted ----


def outputs_of(logits: Any, labels: Any = None, features: Any = None, names: tuple[str, ...] = NAMES) -> Outputs:
    values = np.asarray(logits, np.float32)
    truth = np.zeros(len(values), np.int64) if labels is None else np.asarray(labels, np.int64)
    rows = np.zeros((len(values), 2), np.float32) if features is None else np.asarray(features, np.float32)
    return Outputs(rows, values, truth, tuple(map(str, range(len(values)))), names)


@pytest.mark.parametrize(
    ("theirs", "ours"), [("Egyptian cat", "cat"), ("cats", "cat"), ("bear, sea_dog", "dog"), ("liner", "ship")]
)
def test_unknown_classes_with_a_known_name_are_noticed(theirs: str, ours: str) -> None:
    assert contamination.known_names(NAMES, [theirs]) == [(theirs, ours)]


@pytest.mark.parametrize("name", ["catfish", "cat food", "warship", "koala"])
def test_names_that_only_look_alike_are_not(name: str) -> None:
    assert contamination.known_names(NAMES, [name]) == []


def test_four_image_statistics_tell_bright_images_from_dark_ones() -> None:
    dark = Images.from_pixels(np.full((5, 3, 8, 8), 10, np.uint8), np.zeros(5), ("dark",))
    bright = Images.from_pixels(np.full((5, 3, 8, 8), 200, np.uint8), np.zeros(5), ("bright",))

    assert low_level.low_level_auroc(dark, bright) == LowLevel(1.0, "brightness")
    assert low_level.low_level_auroc(bright, dark) == LowLevel(1.0, "brightness")


def test_what_unknown_classes_are_called_counts_accepted_images_alone() -> None:
    images = Images.from_pixels(np.zeros((6, 3, 8, 8), np.uint8), [0, 0, 0, 0, 0, 1], ("dolphin", "whale"))
    outputs = outputs_of(np.eye(3)[[2, 2, 2, 0, 0, 1]])

    found = calls.calls(images, outputs, np.array([True, True, True, True, False, False]))

    assert found.rows[0].called["ship"].n == 3
    assert found.rows[0].accepted == 4
    assert found.flows[0].value == 0.6
    assert found.called == {"cat": 1, "dog": 0, "ship": 3}


def test_nearest_distances_are_between_unit_vectors() -> None:
    features, train = np.array([[0, 3.0], [1, 0]], np.float32), np.array([[0, -1.0], [5.0, 0]], np.float32)

    cosines, nearest = contamination.nearest_train(features, train)

    assert contamination.distances_of(cosines).tolist() == pytest.approx([np.sqrt(2), 0])
    assert nearest.tolist() == [1, 1]


def test_scores_that_are_not_finite_are_refused_with_their_number() -> None:
    with pytest.raises(TransferkitError, match="msp is not finite for 2 of 3 images of val"):
        detectors.require_finite(np.array([np.nan, 1, np.inf]), "msp", "val")


def test_constant_scores_are_a_coin_and_flagged() -> None:
    row = detectors.score_row(np.ones(30), np.ones(20), np.ones(10))

    assert row.id_accepted is not None
    assert (row.auroc, row.constant, row.fpr95_id, row.id_accepted.value) == (0.5, True, 1.0, 1.0)


def test_below_twenty_val_images_no_acceptance_is_told() -> None:
    row = detectors.score_row(np.arange(19.0), np.arange(20.0), np.arange(10.0))

    assert (row.fpr95_id, row.id_accepted) == (None, None)
    assert row.auroc is not None


# ---- abstaining ----


def test_promise_takes_the_largest_coverage_whose_bound_holds() -> None:
    """1,000 val images, the 300 least confident of which are wrong: 13 of 20 coverages hold 5 % errors or fewer."""
    confident = np.linspace(5, 1, 1000)
    labels = np.where(np.arange(1000) < 700, 0, 1)
    val = outputs_of(np.stack([confident, np.zeros(1000), np.zeros(1000)], axis=1), labels)

    found = abstaining.promise(val, val, 0.05)

    assert found.coverage == 0.7
    assert found.error is not None
    assert found.error.value == 0


def test_promise_is_not_made_with_too_few_images_and_says_how_many_it_takes() -> None:
    val = outputs_of(np.eye(3)[np.zeros(50, int)] * 5)

    found = abstaining.promise(val, val, 0.02)

    assert found == Promise(target=0.02, coverage=None, n_val=50, needs=297)  # ln(.0025) / ln(.98)


def test_area_of_the_best_order_is_the_textbook_sum() -> None:
    wrong = np.array([True, False, False, True])

    assert abstaining.oracle_aurc(wrong) == pytest.approx((0 + 0 + 1 / 3 + 2 / 4) / 4)


# ---- held-out classes ----


def test_outputs_without_a_class_count_labels_along_the_others() -> None:
    outputs = outputs_of(np.arange(12).reshape(4, 3), [0, 1, 2, 2])

    left = leave_out.without(outputs, (1,))

    assert left.class_names == ("cat", "ship")
    assert left.labels.tolist() == [0, 1, 1]
    assert left.logits.tolist() == [[0, 2], [6, 8], [9, 11]]


def test_more_than_twenty_classes_are_held_out_in_ten_pairs() -> None:
    groups = leave_out.held_out_groups(30, seed=0)

    assert len(groups) == 10
    assert len({index for group in groups for index in group}) == 20


def test_a_held_out_class_far_from_the_others_is_noticed(subject: LimitsSubject) -> None:
    """Features on three rays: the classes left know two of them."""
    generator = np.random.default_rng(0)
    rays = np.eye(3, dtype=np.float32)[np.arange(90) % 3] * 5
    features = rays + generator.normal(size=rays.shape).astype(np.float32) * 0.1
    outputs = outputs_of(rays, np.arange(90) % 3, features)
    three = replace(subject, train=outputs, val=outputs, test=outputs)

    found = leave_out.measure_leave_out(three, "auto", 0, SILENT)

    assert isinstance(found, HeldOutReport)
    assert [row.scores["ensemble-rank"].auroc for row in found.rows] == pytest.approx([1, 1, 1])
    assert found.mean["ensemble-rank"].n == 3


def test_with_two_classes_scores_that_rank_as_msp_are_off_with_a_reason(subject: LimitsSubject) -> None:
    generator = np.random.default_rng(0)
    labels = np.arange(60) % 2
    logits = np.eye(2)[labels] * 3 + generator.normal(size=(60, 2))
    two = outputs_of(logits, labels, np.abs(logits), ("cat", "dog"))

    found = detectors.fit_detectors(replace(subject, train=two, val=two, test=two), ("msp", "entropy", "gen", "knn"))

    assert set(found.scores) == {"msp", "knn"}
    assert found.off["gen"] == "with two classes it ranks images exactly as msp does"


def test_without_val_each_class_gives_half_of_its_test_images_to_the_thresholds() -> None:
    test = outputs_of(np.eye(3)[np.arange(10) % 2], np.arange(10) % 2)

    val, rest, note = halves(test, seed=3, why="the run has no val images")

    assert np.bincount(val.labels).tolist() == [2, 2]
    assert sorted([*val.ids, *rest.ids]) == sorted(test.ids)
    assert note == "the run has no val images: half of its test images set the thresholds (stratified, seed 3)"


def test_without_val_whole_groups_of_test_images_set_the_thresholds() -> None:
    patients = tuple(f"patient {number // 4}" for number in range(80))
    labels = np.repeat(np.arange(20) % 2, 4)
    test = replace(outputs_of(np.eye(3)[labels], labels), groups=patients)

    val, rest, note = halves(test, seed=3, why="the run has no val images")

    assert not set(val.groups) & set(rest.groups)
    assert np.bincount(val.labels).tolist() == np.bincount(rest.labels).tolist() == [20, 20]
    assert note.endswith("half of its test images set the thresholds (whole groups, stratified, seed 3)")


def test_shares_of_grouped_images_have_the_interval_of_whole_groups() -> None:
    right, among = np.arange(80) % 20 < 12, np.arange(80) < 60
    groups = [str(number // 4) for number in range(80)]

    assert share_of(right, groups, among).interval == share_interval(right, groups, among).bounds
    assert share_of(right, None, among) == share_of(right[among])


def test_a_result_that_has_learnt_from_val_is_not_judged_on_it() -> None:
    def reason(val_images: int, **method: Any) -> str:
        recipe = recipe_of("finetune", "resnet20", "digits", method, ())
        return why_no_val(SimpleNamespace(recipe=recipe), SimpleNamespace(val=range(val_images)))  # type: ignore[arg-type]

    assert reason(0) == "the run has no val images"
    assert reason(40, refit=True) == "the result has learnt from the val images too"
    assert reason(40, refit=False) == reason(40) == ""


def test_two_classes_cannot_be_left_out(subject: LimitsSubject) -> None:
    two = replace(subject, test=outputs_of(np.zeros((2, 2)), names=("cat", "dog")))

    assert leave_out.measure_leave_out(two, "auto", 0, SILENT) == NotMeasured("needs at least 3 classes; the run has 2")


# ---- settings and rules ----


@pytest.mark.parametrize(
    ("change", "message"),
    [("aurocc=1", "Unknown rule 'aurocc'. Did you mean 'auroc'"), ("auroc=high", "needs a number, as in auroc=0.1")],
)
def test_a_slip_in_a_rule_is_told(change: str, message: str) -> None:
    with pytest.raises(TransferkitError, match=message):
        Rules().changed([change])


@pytest.mark.parametrize(
    "values", [{"target_risk": 0.0}, {"prevalence": (0.0,)}, {"prevalence": ()}, {"max_images": 0}]
)
def test_settings_that_make_no_sense_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(TransferkitError):
        LimitsSettings(**values)


def test_one_folder_may_be_a_string_in_python() -> None:
    settings = from_options(ood="svhn", drop_classes="cat, dog", field="photos", prevalence=[0.5])

    assert (settings.ood, settings.drop_classes, settings.prevalence) == (("svhn",), ("cat, dog",), (0.5,))
    assert settings.field == Path("photos")


def test_a_slip_in_a_choice_names_the_nearest() -> None:
    with pytest.raises(TransferkitError, match=r"corruptions is 'ful'. Did you mean 'full'"):
        from_options(corruptions="ful")


def test_a_calm_report_says_that_nothing_was_found_and_never_more() -> None:
    found = summary(calm(), Rules())

    assert [line.id for line in found.lines] == ["OK"]
    assert found.lines[0].text == NO_LIMIT
    assert found.not_tested
    assert "robust" not in json.dumps(as_json(found))


@pytest.mark.parametrize(
    ("rule", "path", "value", "words"),
    [
        ("S1", "nonsense/0/accepted", share(0.9), "90 % of uniform noise"),
        ("S2", "unknown/sets/0/scores/knn/auroc_interval", [0.79, 0.9], "cannot tell unknown classes"),
        ("S3", "unknown/sets/0/accepted", share(0.8), "More than 50 % of stones, which it does not know"),
        ("S4", "corruptions/families/weather/1", 0.8, "Do not use it on weather-affected images"),
        (
            "S6",
            "calibration/rows/raw",
            CalibrationRow(0.1, 0.1, 0.1, (0.0, 0.02), 0.1, 0.1, 0.1, 9),
            "10.0",
        ),
        ("S7", "corruptions/cells/0/silent", share(0.3), "Under fog at severity 1, 30 % of the images are wrong"),
        ("S8", "test/worst/recall_interval", [0.7, 0.8], "weak on “cat”"),
        ("S9", "selective/promise/coverage", 0.3, "cannot promise at most 2.0 % errors"),
        ("S10", "unknown/sets/0/low_level/auroc", 0.96, "image statistics, not content"),
        ("S11", "unknown/sets/0/n", 99, "too few images"),
        (
            "S12",
            "slices/rows",
            [as_json(error_slice())],
            "images that look alike to it, 40 % are right, elsewhere 95 %",
        ),
    ],
)
def test_each_rule_fires_on_its_own_evidence(rule: str, path: str, value: Any, words: str) -> None:
    report = changed(calm(), path, value)
    if rule == "S8":
        report = changed(report, "test/worst/recall", 0.75)

    lines = summary(report, Rules()).lines

    assert [line.id for line in lines if line.id != "OK"] == [rule]
    assert words in next(line.text for line in lines if line.id == rule)


@pytest.mark.parametrize(
    ("note", "words"),
    [
        ("", "n = 500 val images"),
        (f"no val: {HALVED} (stratified)", "n = 500 test images, the half that sets thresholds"),
    ],
)
def test_the_images_that_set_thresholds_are_named_for_what_they_are(note: str, words: str) -> None:
    report = changed(replace(calm(), notes=(note,)), "selective/promise/coverage", 0.3)

    (line,) = summary(report, Rules()).lines

    assert words in line.evidence


def page_of(report: LimitsReport) -> str:
    """Its page, with its summary and without pictures."""
    return limits_page(replace(report, summary=summary(report, Rules())), np.zeros((0, 3, 1, 1), np.uint8))


def test_an_axis_of_error_rates_that_are_all_zero_begins_at_zero() -> None:
    selective = calm().selective
    nothing = replace(selective, risk=(0.0,) * len(selective.risk), error=share(0.0))

    drawing = risk_drawing(nothing)

    assert re.findall(r'text-anchor="end">([-0-9.]+)<', drawing)[0] == "0"


def test_a_page_without_val_says_that_half_of_the_test_images_set_the_thresholds() -> None:
    page = page_of(replace(calm(), notes=(f"no val: {HALVED} (stratified)",)))

    assert "Learnt on test images, the half that sets thresholds; each holds" in page
    assert "accepts a share of the test images, the half that sets thresholds" in page


@pytest.mark.parametrize(
    ("learnt_from", "words"),
    [
        ("validation", "learnt on 500 val images, so"),
        ("training", "learnt on 500 training images, each left out in tu"),
    ],
)
def test_the_contract_names_the_images_that_the_shipped_threshold_was_learnt_on(learnt_from: str, words: str) -> None:
    report = calm()

    assert words in page_of(replace(report, contract=replace(report.contract, learnt_from=learnt_from)))


def test_a_slice_that_is_hardly_worse_is_listed_and_no_line_of_the_summary() -> None:
    report = changed(calm(), "slices/rows", [as_json(error_slice(right=44))])

    assert [line.id for line in summary(report, Rules()).lines] == ["OK"]
    assert "Groups of alike images on which it is worse" in page_of(report)


@pytest.mark.parametrize(
    ("temperature", "names"),
    [(None, ["as predict answers"]), (1.5, ["without temperature", "as predict answers (T = 1.50)"])],
)
def test_the_table_of_confidence_names_the_row_that_predict_answers(
    temperature: float | None, names: list[str]
) -> None:
    calibration = calm().calibration
    raw = calibration.rows["raw"]
    rows = {"raw": raw} if temperature is None else {"raw": raw, "with temperature": raw}

    page = page_of(replace(calm(), calibration=replace(calibration, temperature=temperature, rows=rows)))

    section = page.partition('id="calibration"')[2].partition("</section>")[0]
    assert re.findall(r'<th scope="row">([^<]*)</th>', section) == names


def test_the_page_has_slices_with_their_pictures_only_where_some_were_found() -> None:
    found = changed(calm(), "slices/rows", [as_json(error_slice())])

    page, empty = page_of(found), page_of(calm())

    assert "cat (25), dog (25)" in page
    assert "slice-image" in page
    assert "Groups of alike images on which it is worse" not in empty
    assert 'id="slices"' not in empty


def test_a_report_says_why_no_slices_were_looked_for() -> None:
    report = replace(calm(), slices=NotMeasured("80 test images; it takes 100"))

    assert any("80 test images; it takes 100" in item for item in summary(report, Rules()).not_tested)


def test_a_rule_without_its_test_is_not_tested_rather_than_quiet() -> None:
    states = {rule.id: rule.state for rule in summary(calm(), Rules()).rules}

    assert (states["S1"], states["S5"]) == ("not fired", "not tested")


def test_a_changed_rule_changes_the_summary() -> None:
    lines = summary(calm(), Rules().changed(["auroc=0.97"])).lines

    assert [line.id for line in lines] == ["S2"]


def test_of_many_lines_ten_remain_and_every_rule_keeps_its_first() -> None:
    lines = [SummaryLine(rule, "red", str(number), "") for rule in ("S1", "S3", "S7", "S11") for number in range(5)]

    kept = shortest(lines)

    assert len(kept) == 10
    assert {line.id for line in kept} == {"S1", "S3", "S7", "S11"}


# ---- the file ----


def test_a_report_is_read_as_it_was_written(tmp_path: Path) -> None:
    whole = replace(
        calm(),
        settings=LimitsSettings(ood=("svhn",), field=Path("photos"), rules=Rules(auroc=0.9)),
        shift=(shift("stl10"),),
        leave_out=held_out([0.5, 0.75]),
        open_world=open_world("stones"),
        summary=summary(calm(), Rules()),
    )

    for report in (whole, replace(whole, corruptions=NotMeasured("not asked for"), nonsense=())):
        report.write(tmp_path)
        assert LimitsReport.read(tmp_path) == report


def test_a_share_of_no_image_is_null_in_the_file() -> None:
    nothing = share_of(np.zeros(0, dtype=bool))

    assert as_json(nothing) == {"hits": 0, "n": 0, "interval": [0.0, 1.0], "value": None}
    assert from_json(as_json(nothing), Share, "a share") == nothing


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("contract", {}, "contract.run is missing"),
        ("nonsense/0/n", "many", "nonsense.0.n is 'many', expected int"),
        ("test/interval", [0.9], "test.interval.1 is missing"),
        ("leave_out", {}, "leave_out.how is missing"),
        ("leave_out", "lost", "leave_out is 'lost', expected an object"),
        ("corruptions/n", "many", "corruptions.n is 'many', expected int"),
        ("corruptions", {"reason": 5}, "corruptions.reason is 5, expected str"),
    ],
)
def test_a_damaged_report_says_where(path: str, value: Any, message: str, tmp_path: Path) -> None:
    calm().write(tmp_path)
    place = content = json.loads((tmp_path / "limits.json").read_text())
    *keys, last = path.split("/")
    for key in keys:
        place = place[int(key) if key.isdigit() else key]
    place[last] = value
    (tmp_path / "limits.json").write_text(json.dumps(content))

    with pytest.raises(TransferkitError, match=rf"limits.json is damaged: {message}"):
        LimitsReport.read(tmp_path)


def test_a_report_of_an_earlier_version_is_refused_with_what_to_type(tmp_path: Path) -> None:
    (tmp_path / "limits.json").write_text(json.dumps(as_json(calm()) | {"schema": 2}))

    message = (
        r"an earlier version of transferkit \(schema 2, here 3\).* transferkit limits with the same run and options"
    )
    with pytest.raises(TransferkitError, match=message):
        LimitsReport.read(tmp_path)


# ---- one small run ----


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("limits") / "run"
    return transferkit.probe(
        "resnet-mini",
        "digits",
        weights="none",
        size=8,
        C=1.0,
        limit_per_class=60,
        test_fraction=0.2,
        out=folder,
        quiet=True,
    ).folder


@pytest.fixture(scope="module")
def report(run: Run, tmp_path_factory: pytest.TempPathFactory) -> LimitsReport:
    stones = pictures(tmp_path_factory.mktemp("sets") / "stones", 30)
    settings = LimitsSettings(ood=(str(stones),), corruptions="none", leave_out="none", sweeps=False, train_images=300)
    return measure_limits(run, settings, None, Work("cpu", SILENT, "transferkit limits run"))


def test_limits_of_a_run_name_every_score_with_its_interval(report: LimitsReport) -> None:
    stones = report.unknown.sets[0]

    assert set(stones.scores) == set(report.unknown.scores) >= {"msp", "knn", "vim", "ensemble-rank"}
    for row in stones.scores.values():
        assert row.auroc_interval[0] <= row.auroc <= row.auroc_interval[1]  # type: ignore[index, operator]
        assert 0 <= row.fpr95_id <= 1  # type: ignore[operator]
        assert 0 <= row.fpr95_openood <= 1  # type: ignore[operator]


def test_limits_json_is_what_was_returned(run: Run, report: LimitsReport) -> None:
    stored = json.loads((run.path / "limits" / "limits.json").read_text())

    assert LimitsReport.read(run.path / "limits") == report
    assert stored["summary"] == as_json(report.summary)
    assert stored["schema"] == 3


def test_a_report_shows_itself_in_python_and_its_page_in_a_notebook(report: LimitsReport) -> None:
    first = report.summary.lines[0]

    assert repr(report).startswith(f"LimitsReport of run:\n  {first.id}: {first.text}")
    assert repr(report).endswith("limits.html")
    assert report._repr_html_().startswith('<iframe srcdoc="')


def test_scores_of_every_image_are_kept_without_pickle(run: Run, report: LimitsReport) -> None:
    with np.load(run.path / "limits" / "scores.npz", allow_pickle=False) as scores:
        assert len(scores["stones.ensemble-rank"]) == 30
        assert len(scores["test.ids"]) == report.test.n


def test_page_loads_nothing_and_escapes_names(report: LimitsReport) -> None:
    text = json.dumps(as_json(report)).replace('"stones"', '"<script>alert(1)</script>"')
    evil = from_json(json.loads(text), LimitsReport, "the report")

    page = limits_page(evil, np.zeros((0, 3, 1, 1), np.uint8))

    assert "<script>alert" not in page
    assert "default-src &#39;none&#39;" in page
    assert "http://" not in page
    assert "https://" not in page


def test_page_and_markdown_say_what_was_not_tested_and_never_robust(run: Run, report: LimitsReport) -> None:
    for name in ("limits.html", "limits.md"):
        text = (run.path / "limits" / name).read_text()
        assert "adversarial examples" in text
        assert "robust" not in text.lower()
        assert report.summary.lines[0].id in text


def test_a_second_report_asks_the_network_nothing(
    run: Run, report: LimitsReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the network was asked again")

    monkeypatch.setattr("transferkit.models.classifier.Classifier.prepare", refuse)
    settings = LimitsSettings(corruptions="none", leave_out="none", sweeps=False, train_images=300)

    again = measure_limits(run, settings, None, Work("cpu", SILENT, overwrite=True))

    assert again.test == report.test


def test_a_report_with_more_images_from_elsewhere_replaces_an_earlier_one_unasked_and_no_other(
    run: Run, report: LimitsReport, tmp_path: Path
) -> None:
    folder, settings = Path(report.folder), report.settings
    other = Run(tmp_path / "other")

    assert is_asked_for_more(folder, run, replace(settings, ood=(*settings.ood, "glyphs")))
    assert not is_asked_for_more(folder, run, replace(settings, seed=settings.seed + 1))
    assert not is_asked_for_more(folder, other, settings)


def test_the_same_report_is_asked_for_again_and_stays_as_it_is(run: Run, report: LimitsReport) -> None:
    measure_limits(run, report.settings, Path(report.folder), Work("cpu", SILENT))  # others may have changed it
    before = Path(report.folder, "limits.html").stat().st_mtime_ns

    again = measure_limits(run, report.settings, Path(report.folder), Work("cpu", SILENT))

    assert again == LimitsReport.read(report.folder)
    assert Path(report.folder, "limits.html").stat().st_mtime_ns == before


@pytest.mark.usefixtures("report")
def test_the_page_of_a_run_links_its_limits_report(run: Run) -> None:
    assert "limits/limits.html" in (run.path / "report.html").read_text()


def test_a_report_is_not_overwritten_unasked(report: LimitsReport) -> None:
    with pytest.raises(TransferkitError, match="already holds a limits report"):
        require_free(Path(report.folder), LIMITS, overwrite=False)


def test_figures_of_ones_own_stay(tmp_path: Path, report: LimitsReport) -> None:
    place = shutil.copytree(report.folder, tmp_path / "paper")
    (place / "figs" / "mine.svg").write_text("<svg/>")

    with result_folders.hold_results(place, LIMITS):
        result_folders.clear_results(place)

    assert [path.name for path in (place / "figs").iterdir()] == ["mine.svg"]
    assert not list(place.glob("limits.*"))


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()

    with pytest.raises(TransferkitError, match="holds other files and is no limits report"):
        require_free(tmp_path, LIMITS, overwrite=True)


@pytest.fixture(scope="module")
def subject(run: Run, report: LimitsReport) -> LimitsSubject:
    """Opened when the report has been made, so that the store holds what was said for it."""
    assert report.folder
    return open_subject(run, 300, 0, "cpu", SILENT)


def test_the_report_accepts_what_predict_accepts(run: Run, report: LimitsReport, subject: LimitsSubject) -> None:
    images = subject.images.test.subset(range(40))

    found = transferkit.load(run.path, device="cpu").predict(images)

    accepted, scores = out_of_distribution.accepted_of(subject, rows(subject.test, np.arange(40)))
    assert report.contract.score == "knn"
    assert [not each.unknown for each in found] == accepted.tolist()
    assert [each.score for each in found] == pytest.approx(scores, abs=1e-5)
    assert "As shipped (knn)" in limits_page(report, np.zeros((0, 3, 1, 1), np.uint8))


def test_changed_images_are_judged_by_the_shipped_score(subject: LimitsSubject) -> None:
    images = subject.images.test

    outputs, scores = subject.store.judged(images, lambda pixels, _: pixels, "no change", subject.limits)
    again, stored = subject.store.judged(images, refuse_change, "no change", subject.limits)

    assert scores == pytest.approx(subject.limits.scores(subject.test), abs=1e-5)
    assert (outputs.predictions == subject.test.predictions).all()
    assert (stored == scores).all()
    assert (again.logits == outputs.logits).all()


def test_what_other_versions_said_is_asked_anew(subject: LimitsSubject, monkeypatch: pytest.MonkeyPatch) -> None:
    images, limits = subject.images.test.subset(range(5)), subject.limits
    subject.store.judged(images, lambda pixels, _: pixels, "as they are", limits)
    newer = {**keys.versions(), "torch": "99.0"}

    before = subject.store.missing(images, "as they are", limits)
    monkeypatch.setattr(keys, "versions", lambda: newer)

    assert before == 0
    assert subject.store.missing(images, "as they are", limits) == 5


def refuse_change(pixels: Any, first: int) -> Any:
    raise AssertionError(f"{len(pixels)} images from {first} were changed again")


def test_a_folder_of_known_classes_gets_a_warning_and_a_second_table(subject: LimitsSubject) -> None:
    """Mirrored digits lie about as close to train as digits do."""
    names = tuple(f"handwritten {name}" for name in subject.test.class_names)
    found = image_sets.ImageSet("again", "", replace(subject.images.test, class_names=names), None, 8)

    guard = contamination.contamination_of(found, subject.test, subject)

    assert guard.overlap.is_warning
    assert guard.overlap.names[3] == NamePair(theirs="handwritten 3", ours="3")


def test_non_linear_heads_and_signed_features_turn_detectors_off_with_a_reason(subject: LimitsSubject) -> None:
    assert linear_head(torch.nn.Sequential(torch.nn.Linear(2, 2))) is None
    signed = {
        part: replace(getattr(subject, part), features=-getattr(subject, part).features) for part in ("train", "val")
    }
    headless = replace(subject, **signed, classifier=_without_linear_head())

    found = detectors.fit_detectors(headless, ("vim", "react", "she", "fdbd", "knn", "msp"))

    assert set(found.scores) >= {"knn", "msp"}
    assert {"vim", "react"} <= set(found.off)
    assert all(reason for reason in found.off.values())


def _without_linear_head() -> Any:
    class Headless:
        head = torch.nn.Sequential(torch.nn.ReLU())

    return Headless()


def test_with_two_classes_one_of_the_equal_scores_is_shown(subject: LimitsSubject) -> None:
    two = {part: leave_out.without(getattr(subject, part), range(2, 10)) for part in ("train", "val", "test")}

    found = detectors.fit_detectors(replace(subject, **two, classifier=_without_linear_head()))

    assert "msp" in found.scores
    assert {"gen"} <= set(found.off)
    assert "two classes" in found.off["gen"]


def test_changed_images_are_an_error_that_says_which(run: Run, tmp_path: Path) -> None:
    data = replace(run.facts.data, fingerprint=replace(run.facts.data.fingerprint, test="00"))
    facts = replace(run.facts, data=data)
    changed = Run(tmp_path)
    changed.__dict__.update(facts=facts, recipe=run.recipe)

    with pytest.raises(TransferkitError, match="The test images are not those that"):
        same_images(changed, SILENT)


def test_command_prints_json_alone_on_stdout(run: Run, report: LimitsReport) -> None:
    result = CliRunner().invoke(
        app,
        [
            "limits",
            str(run.path),
            "--corruptions",
            "none",
            "--leave-out",
            "none",
            "--no-sweeps",
            "--train-images",
            "300",
            "--overwrite",
            "--json",
        ],
    )

    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["test"]["n"] == report.test.n


def test_a_run_made_now_ships_its_threshold(run: Run) -> None:
    model = transferkit.load(open_run(run.path).path, device="cpu")

    found = model.predict(np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8))

    assert all(isinstance(each.unknown, bool) for each in found)


@pytest.mark.slow
def test_leaving_out_in_full_trains_again_without_each_class(subject: LimitsSubject) -> None:
    found = leave_out.measure_leave_out(subject, "full", 0, SILENT)

    assert isinstance(found, HeldOutReport)
    assert found.clean
    assert len(found.rows) == 10
    assert all(len(row.held_out) == 1 and row.n > 30 for row in found.rows)
    assert 0.5 < found.mean["ensemble-rank"].auroc < 1
