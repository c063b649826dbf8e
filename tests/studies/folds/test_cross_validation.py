"""Folds: every labelled image predicted once, whole groups together, test closed, one verdict."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from digits_recipe import digits
from small_trainings import images
from typer.testing import CliRunner

import transferkit
from transferkit.cli.app import app
from transferkit.data import datasets
from transferkit.data.datasets.fold import fold_of, with_fold_as_test
from transferkit.data.images import Images, SealedImages, Splits
from transferkit.metrics.statistics import wilson
from transferkit.recipe import DigitsData, Recipe
from transferkit.runs.run_directory import open_run
from transferkit.runtime.console import SILENT
from transferkit.runtime.errors import TransferkitError
from transferkit.studies.folds.cross_validation import CrossValidation, cross_validate
from transferkit.training.estimates.inputs import outline


def splits(groups: bool = False) -> Splits:
    train, val = images(40), replace(images(20, 1), ids=tuple(f"val{number}" for number in range(20)))
    if groups:
        train, val = (
            replace(part, groups=tuple(f"patient{(start + number) // 6}" for number in range(len(part))))
            for start, part in ((0, train), (40, val))
        )
    return Splits(train, val, SealedImages(images(10, 2)))


def folded(known: Splits, **keys: Any) -> list[Splits]:
    return [with_fold_as_test(known, DigitsData(name="digits", folds=5, fold=fold, **keys)) for fold in range(1, 6)]


def ids_of(*parts: Images) -> list[str]:
    return [name for part in parts for name in part.ids]


def test_every_labelled_image_is_held_out_once_and_learnt_from_otherwise() -> None:
    known = splits()
    labelled = sorted(ids_of(known.train, known.val))

    parts = folded(known)

    held = [part.test.open() for part in parts]
    assert sorted(ids_of(*held)) == labelled
    for part, test in zip(parts, held, strict=True):
        assert sorted(ids_of(part.train, part.val, test)) == labelled
        assert np.bincount(test.require_labels()).tolist() == [6, 6]
    assert known.test.openings == 0


def test_whole_groups_stay_in_one_fold() -> None:
    for part in folded(splits(groups=True)):
        own = set(part.test.open().groups or ())
        assert own
        assert not own & {*(part.train.groups or ()), *(part.val.groups or ())}


def test_each_fold_says_that_test_stayed_closed() -> None:
    assert folded(splits())[1].notes[-1] == (
        "fold 2 of 5: what is called test here are 12 of the 60 labelled images; the sealed test part stayed closed"
    )


def test_without_folds_the_splits_are_as_they_were() -> None:
    known = splits()

    assert with_fold_as_test(known, DigitsData(name="digits")) is known


@pytest.mark.parametrize("fold", [None, 6])
def test_folds_without_a_fold_say_what_to_type(fold: int | None) -> None:
    with pytest.raises(TransferkitError, match=r"holds out one of the folds 1 to 5.*--folds 5 alone"):
        datasets.load(DigitsData(name="digits", folds=5, fold=fold), SILENT)


def test_more_folds_than_images_are_refused() -> None:
    with pytest.raises(TransferkitError, match="4 images make no 5 folds"):
        fold_of(images(4), 5, 0)


def test_estimates_count_the_images_of_one_fold() -> None:
    labelled, tested, _ = outline(DigitsData(name="digits", limit_per_class=10, folds=5))

    assert (labelled, tested) == (80, 20)


def probed(**keys: Any) -> Recipe:
    recipe = digits("probe", **keys)
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"folds": 2})})


def test_verdict_counts_the_images_of_all_folds(tmp_path: Path) -> None:
    result = cross_validate(probed(), tmp_path / "folds", console=SILENT)

    runs = [open_run(tmp_path / "folds" / f"fold{number}") for number in (1, 2)]
    hits = np.concatenate([run.outputs("test").is_right for run in runs])
    assert (result.n, result.accuracy) == (80, hits.mean())
    assert result.interval == wilson(int(hits.sum()), 80).bounds
    assert sorted(name for run in runs for name in run.outputs("test").ids) == sorted(
        {name for run in runs for name in run.outputs("test").ids}
    )
    assert CrossValidation.read(tmp_path / "folds") == result
    text = (tmp_path / "folds" / "report.md").read_text()
    assert "of 80 labelled images right" in text
    assert "| all | 80 |" in text


def test_finished_folds_are_not_done_again(tmp_path: Path) -> None:
    cross_validate(probed(), tmp_path / "folds", console=SILENT)
    (tmp_path / "folds" / "folds.json").unlink()
    before = (tmp_path / "folds" / "fold1" / "model.safetensors").stat().st_mtime_ns

    cross_validate(probed(), tmp_path / "folds", console=SILENT)

    assert (tmp_path / "folds" / "fold1" / "model.safetensors").stat().st_mtime_ns == before
    written = (tmp_path / "folds" / "folds.json").stat().st_mtime_ns
    cross_validate(probed(), tmp_path / "folds", console=SILENT)
    assert (tmp_path / "folds" / "folds.json").stat().st_mtime_ns == written
    with pytest.raises(TransferkitError, match="holds another cross-validation, with seed=0 and not 1"):
        cross_validate(probed(seed=1), tmp_path / "folds", console=SILENT)


@pytest.mark.slow
def test_command_makes_all_folds_and_prints_one_verdict(tmp_path: Path) -> None:
    options = ["--weights", "none", "--limit-per-class", "8", "--threads", "1", "--folds", "2"]
    result = CliRunner().invoke(
        app, ["probe", "resnet20", "--data", "digits", *options, "--out", str(tmp_path / "out"), "--json"]
    )

    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["n"] == 80
    assert "each predicted once by the one of 2 models" in " ".join(result.stderr.split())
    assert f"Report: {tmp_path / 'out'}/report.html" in " ".join(result.stderr.split())


def test_the_page_shows_every_fold_and_leads_to_its_run(tmp_path: Path) -> None:
    result = cross_validate(probed(), tmp_path / "folds", console=SILENT)

    page = (tmp_path / "folds" / "report.html").read_text()

    assert result.lines()[0] in page.replace("\u00a0", " ")
    for fold in result.folds:
        assert f'href="fold{fold.number}/report.html"' in page
        assert (tmp_path / "folds" / f"fold{fold.number}" / "report.html").exists()
        assert f"<b>{100 * fold.accuracy:.1f}</b>" in page
    assert "<li>n = 80 labelled images.</li>" in page
    assert "The sealed test part stayed closed" in page


def test_python_call_is_the_command(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 3)).astype(np.uint8)
    options: dict[str, Any] = {"weights": "none", "size": 8, "out": tmp_path / "out", "quiet": True}

    result = transferkit.folds("resnet20", (images, np.arange(60) % 2), method="probe", folds=2, **options)

    assert CrossValidation.read(tmp_path / "out") == result
    assert (result.n, len(result.folds)) == (48, 2)  # a fifth is sealed as test
    assert repr(result).endswith(f"Report: {tmp_path / 'out'}/report.html")


def test_one_run_with_folds_names_the_call_that_makes_them() -> None:
    with pytest.raises(TransferkitError, match=r"use transferkit\.folds\('resnet20', method='probe', folds=5\)"):
        transferkit.probe("resnet20", "digits", weights="none", folds=5, quiet=True)
