"""Label errors: wrong labels are found, what is found stays in the run, and the report shows it."""

from __future__ import annotations

import csv
import html
import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic_runs import finished_run, outputs
from typer.testing import CliRunner

import transferkit
from transferkit import report
from transferkit.cli.app import app
from transferkit.cli.labels import in_words
from transferkit.runs import run_directory
from transferkit.runs.label_check import CheckedPart, LabelError
from transferkit.runs.run_directory import Run, open_run
from transferkit.runtime.console import SILENT
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.files import read_json, write_arrays
from transferkit.studies.labels import label_quality
from transferkit.studies.labels.label_quality import check_labels, expected_issues, folds, issues

HOSTILE = "<script>alert(1)</script>"


def test_labels_that_were_changed_are_found() -> None:
    pytest.importorskip("cleanlab")
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 4, 400)
    logits = generator.normal(size=(400, 4)) + 5 * np.eye(4)[truth]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = truth.copy()
    changed = np.arange(0, 400, 20)
    labels[changed] = (truth[changed] + 1) % 4

    found = issues(labels, probabilities)

    hits = {issue.index for issue in found} & set(changed.tolist())
    assert len(hits) >= 18  # of 20
    assert len(found) <= 24
    assert [issue.probability for issue in found] == sorted(issue.probability for issue in found)
    assert all(issue.suggested != labels[issue.index] for issue in found)


def drawn(count: int, sharpness: float) -> tuple[Any, Any]:
    """Labels that are right by construction, each drawn from the probabilities (N, 10) of a calibrated model."""
    generator = np.random.default_rng(1)
    logits = sharpness * generator.normal(size=(count, 10))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (generator.random((count, 1)) > probabilities.cumsum(axis=1)).sum(axis=1)
    return np.minimum(labels, 9), probabilities


def test_all_that_a_weak_model_finds_among_right_labels_is_expected() -> None:
    pytest.importorskip("cleanlab")
    labels, probabilities = drawn(2000, sharpness=2.5)  # right about 64 % of them
    assert (probabilities.argmax(axis=1) == labels).mean() == pytest.approx(0.64, abs=0.04)

    found, expected = issues(labels, probabilities), expected_issues(labels, probabilities, seed=0)

    # a count of f has a standard deviation below sqrt(f)
    assert len(found) > 100
    assert expected == pytest.approx(len(found), abs=4 * len(found) ** 0.5)


def test_an_overconfident_model_is_calibrated_before_its_mistakes_are_counted() -> None:
    pytest.importorskip("cleanlab")
    labels, probabilities = drawn(2000, sharpness=2.0)
    overconfident = probabilities**3 / (probabilities**3).sum(axis=1, keepdims=True)

    found, expected = issues(labels, overconfident), expected_issues(labels, overconfident, seed=0)

    assert expected == pytest.approx(len(found), rel=0.15)


def test_changed_labels_that_a_good_model_finds_are_not_expected() -> None:
    pytest.importorskip("cleanlab")
    labels, probabilities = drawn(2000, sharpness=40.0)  # right about 97 %
    changed = labels.copy()
    changed[::10] = (labels[::10] + 1) % 10

    found, expected = issues(changed, probabilities), expected_issues(changed, probabilities, seed=0)

    assert len(found) >= 180
    assert expected < len(found) / 2


def checked(found: int, expected: float | None) -> CheckedPart:
    return CheckedPart(5000, 5000, (LabelError(0, "a.png", "cat", "dog", 0.1),) * found, expected)


def test_words_for_a_weak_model_say_what_is_expected_from_its_own_mistakes() -> None:
    weak, strong, old = checked(2411, 2300.4), checked(50, 4.0), checked(50, None)

    assert (weak.kind, strong.kind, old.kind) == ("labels to check", "likely label errors", "likely label errors")
    assert weak.expected_in_words == (
        "about 2,300 of them are to be expected from the model's own mistakes, were every label right"
    )
    assert checked(20, 31.0).expected_in_words.startswith("all of them are to be expected")
    assert old.expected_in_words == checked(0, 3.0).expected_in_words == ""


def test_command_and_page_give_the_number_that_is_expected(tmp_path: Path) -> None:
    run = checked_run(tmp_path / "run")
    known = run.labels
    assert known is not None
    check = replace(known, train=checked(2411, 2300.4))

    lines = in_words(check, run.path)

    assert lines[0] == (
        "2,411 labels to check in 5,000 train images; about 2,300 of them are to be expected from the model's own "
        "mistakes, were every label right."
    )
    assert lines[1] == "0 likely label errors in 40 test images."


def test_the_command_names_the_first_five_images_with_label_and_suggestion(tmp_path: Path) -> None:
    run = checked_run(tmp_path / "run")
    known = run.labels
    assert known is not None

    lines = in_words(replace(known, train=checked(4, 1.0), test=checked(3, 1.0)), run.path)

    issue = "a.png, labelled cat, suggested dog"
    assert [line for line in lines if issue in line] == [*[f"  train: {issue}"] * 4, f"  test: {issue}"]
    assert lines[-1].startswith("Look at them in ")
    assert lines[-1].endswith("labels.csv.")


def test_a_single_finding_is_spoken_of_as_one(tmp_path: Path) -> None:
    run = checked_run(tmp_path / "run")
    known = run.labels
    assert known is not None

    lines = in_words(replace(known, train=checked(1, 0.1), duplicates=()), run.path)

    assert lines[0] == (
        "1 likely label error in 5,000 train images; it is not to be expected from the model's own mistakes, were "
        "every label right."
    )
    assert lines[-1] == f"Look at it in {run.path / 'report.html'}; it is listed in {run.path / 'labels.csv'}."


def test_folds_spread_every_class_evenly() -> None:
    labels = np.repeat([0, 1, 2], [50, 23, 5])

    fold = folds(labels, seed=0)

    for label in range(3):
        counts = np.bincount(fold[labels == label], minlength=5)
        assert counts.max() - counts.min() <= 1
    assert (fold != folds(labels, seed=1)).any()


def test_accuracy_is_counted_with_and_without_what_was_found() -> None:
    test = outputs()  # 28 of 40 right; the first three of every ten are wrong

    rows = label_quality._accuracies(test, wrong_labels=[0, 1], in_train=[1, 39])

    assert [(row.n, round((row.accuracy or 0) * row.n)) for row in rows] == [(40, 28), (38, 27), (38, 28), (37, 27)]


def test_without_the_extra_the_command_says_what_to_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)

    with pytest.raises(TransferkitError, match=r'pip install "transferkit\[labels\]"'):
        check_labels(finished_run(tmp_path / "run"), SILENT)


def part(n: int, of: int, rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {"n": n, "of": of, "issues": rows}


def checked_run(folder: Path) -> Run:
    """A run whose labels have been checked, with one finding of each kind."""
    run = finished_run(folder)
    with run_directory.hold_run(run):
        write_labels(run)
    return Run(folder)


def write_labels(run: Run) -> None:
    row = {"index": 0, "id": "train/0.png", "label": HOSTILE, "suggested": "dog", "probability": 0.01}
    pair = {
        "test": {"index": 3, "id": "test/3.png", "label": "cat"},
        "train": {"index": 5, "id": "train/5.png", "label": "dog"},
        "kind": "hash",
        "correlation": 0.99,
    }
    shares = [{"of": "all test images", "n": 40, "accuracy": 0.7, "interval": [0.55, 0.82]}]
    run.write_json(
        "labels",
        {
            "judge": "start",
            "train": part(100, 500, [row]),
            "test": part(40, 40, []),
            "duplicates": [pair],
            "accuracy": shares,
        },
    )
    pixels = np.zeros((2, 3, 8, 8), np.uint8)
    arrays = {"train_indices": np.array([0, 5]), "train_pixels": pixels}
    write_arrays(run.label_pictures_path, {**arrays, "test_indices": np.array([3, 4]), "test_pixels": pixels})
    run.write_facts(replace(run.facts, label_openings=1))


def page_of(run: Run) -> str:
    report.write(run)
    return (run.path / "report.html").read_text(encoding="utf-8")


def test_the_report_shows_what_was_found_with_n(tmp_path: Path) -> None:
    page = page_of(checked_run(tmp_path / "run"))

    section = html.unescape(page.split('<section id="labels">')[1].split("</section>")[0])
    assert "1 of 100 images (1.0 %), a sample of 500" in section
    assert "1 of 40 test images: 1 by hash (looked for among 100 training images)" in section
    assert "cat in test, dog in train" in section.replace("<bdi>", "").replace("</bdi>", "")
    assert "It was opened once more to check its labels; nothing was chosen by it." in page
    assert HOSTILE not in page
    assert section.count("data:image/") == 3


def test_a_check_prints_what_it_found(tmp_path: Path) -> None:
    check = checked_run(tmp_path / "run").labels

    assert repr(check).splitlines() == [
        "LabelCheck:",
        "  1 likely label error in 100 train images.",
        "  0 likely label errors in 40 test images.",
        "  1 test image is also in train, with another label there.",
        "     70.0 % (55.0 to 82.0), n = 40: all test images",
    ]


def test_a_notebook_shows_a_check_as_a_table_that_runs_no_script(tmp_path: Path) -> None:
    check = checked_run(tmp_path / "run").labels

    assert check is not None
    shown = check._repr_html_()
    assert "<td>train/0.png</td><td>&lt;script&gt;alert(1)&lt;/script&gt;</td><td>dog</td><td>0.01</td>" in shown
    assert HOSTILE not in shown


def test_a_report_without_a_check_says_how_to_make_one(tmp_path: Path) -> None:
    page = html.unescape(page_of(finished_run(tmp_path / "run")))

    assert "transferkit labels run" in page
    assert 'pip install "transferkit[labels]"' in page


def test_pictures_that_are_gone_cost_only_the_pictures(tmp_path: Path) -> None:
    run = checked_run(tmp_path / "run")
    run.label_pictures_path.unlink()

    section = page_of(run).split('<section id="labels">')[1].split("</section>")[0]

    assert section.count("no picture kept") == 3


def test_a_new_run_forgets_the_labels_of_the_old_one(tmp_path: Path) -> None:
    run = checked_run(tmp_path / "run")

    run_directory.prepare_run_folder(run, run.recipe, resume=False)

    assert Run(run.path).labels is None
    assert not run.label_pictures_path.exists()


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("runs") / "run"
    return transferkit.probe("resnet20", data="digits", weights="none", out=folder, quiet=True, limit_per_class=40)


@pytest.mark.slow
def test_the_command_leaves_findings_pictures_and_a_new_page(probed: Run) -> None:
    pytest.importorskip("cleanlab")

    result = CliRunner().invoke(app, ["labels", str(probed.path), "--limit", "200", "--json"])

    assert result.exit_code == 0, result.output
    found = read_json(probed.path / "labels.json")
    assert json.loads(result.stdout) == found
    assert (found["train"]["n"], found["train"]["of"]) == (200, 360)
    assert found["accuracy"][0]["n"] == found["test"]["n"] == 898
    with (probed.path / "labels.csv").open(newline="") as file:
        assert len(list(csv.reader(file))) == 1 + len(found["train"]["issues"]) + len(found["test"]["issues"])
    assert open_run(probed.path).facts.label_openings == 1
    part = open_run(probed.path).labels.train
    assert f"{part.kind.capitalize()} in train" in (probed.path / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_other_data_than_the_runs_are_refused(probed: Run) -> None:
    pytest.importorskip("cleanlab")
    data = replace(probed.facts.data, fingerprint=replace(probed.facts.data.fingerprint, train="0" * 64))
    Run(probed.path).write_facts(replace(probed.facts, data=data))

    with pytest.raises(TransferkitError, match="The train images are not those that"):
        check_labels(Run(probed.path), SILENT)
