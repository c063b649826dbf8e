"""The benchmark of a run: which forms are measured, against what, and what is said of those that cannot be had."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from test_exports import stored
from typer.testing import CliRunner

import transferkit
from transferkit.cli.app import app
from transferkit.data.images import Images, SealedImages, Splits
from transferkit.deploy import benchmark as benchmarks
from transferkit.deploy.benchmark import forms, wanted_forms
from transferkit.deploy.benchmark.forms import Form
from transferkit.deploy.benchmark.results import Benchmark, FormResult
from transferkit.deploy.export import turns
from transferkit.deploy.formats import measured_forms
from transferkit.runs.run_directory import Run
from transferkit.runtime.errors import TransferkitError

CLASSES = ("cat", "dog", "ship", "truck")


def images(count: int, seed: int = 0) -> Images:
    draws = np.random.default_rng(seed)
    pixels = draws.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)
    return Images.from_pixels(pixels, np.arange(count) % 4, CLASSES, tuple(map(str, range(count))))


@pytest.fixture(scope="module")
def stored_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return stored(tmp_path_factory.mktemp("benchmark") / "run", "resnet18", 32)


def with_small_images(patch: pytest.MonkeyPatch) -> None:
    """40 val images, 20 test images and short timing."""
    splits = Splits(images(8, 1), images(40, 2), SealedImages(images(20, 3)))
    patch.setattr(benchmarks, "same_images", lambda *_: splits)
    patch.setattr(benchmarks, "TURNS", {1: 2, 4: 2})


@pytest.fixture
def run(stored_run: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run of random weights in fp32, and its images."""
    with_small_images(monkeypatch)
    return stored_run


@pytest.fixture(scope="module")
def result(stored_run: Run) -> Iterator[Benchmark]:
    """Of the forms that are always measured, on a busy machine."""
    with pytest.MonkeyPatch.context() as patch:
        with_small_images(patch)
        patch.setattr(benchmarks.os, "getloadavg", lambda: (99.0, 0.0, 0.0), raising=False)
        yield measured(stored_run, "fp32")


def measured(run: Run, *formats: str, **options: Any) -> Benchmark:
    return transferkit.benchmark(run, list(formats), threads=1, quiet=True, **options)


def row(result: Benchmark, form: str) -> FormResult:
    return next(row for row in result.rows if row.form == form)


# ------------------------------------------------------------------------------------------------------ which forms


def test_every_form_of_the_menu_can_be_asked_for_by_its_name() -> None:
    assert tuple(forms.menu()) == measured_forms()
    assert measured_forms() == ("eager", "fp32", "bf16", "onnx", "onnx-int8", "torch-export")


def test_plain_eager_and_the_runs_own_precision_are_always_among_the_forms() -> None:
    assert wanted_forms(["onnx"], own="bf16") == ("eager", "bf16", "onnx")
    assert wanted_forms([], own="fp32") == measured_forms()


def test_an_unknown_format_names_the_nearest() -> None:
    with pytest.raises(TransferkitError, match=r"Unknown format 'onx'\. Did you mean 'onnx'\?"):
        wanted_forms(["onx"], own="fp32")


# ----------------------------------------------------------------------------------------------- what is in the table


def test_a_row_says_accuracy_loss_speed_and_size(result: Benchmark, stored_run: Run) -> None:
    eager, own = (row(result, form).measured for form in ("eager", "fp32"))

    assert eager
    assert own
    assert (own.loss, own.same_answers, result.images) == (0.0, 40, 40)
    assert eager.same_answers == 40  # the same weights and arithmetic
    assert own.accuracy == eager.accuracy
    assert (
        own.bytes == (stored_run.path / "model.safetensors").stat().st_size
    )  # this run keeps no images to compare with
    assert eager.single.times == eager.batch.times == 1.0
    assert own.batch.images_per_second == pytest.approx(4000 / own.batch.milliseconds)


@pytest.mark.usefixtures("run")
def test_a_network_that_no_library_has_is_measured_beside_its_own_form(tmp_path: Path) -> None:
    result = measured(stored(tmp_path / "lenet", "lenet", 32), "fp32")

    assert row(result, "eager").obstacle.startswith("lenet is in no other library")
    assert result.beside == "fp32"
    assert "eager: not measured: lenet is in no other library" in repr(result)


def test_a_format_whose_extra_is_missing_is_a_row_that_says_so(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)

    result = measured(run, "onnx")

    assert row(result, "onnx").measured is None
    assert 'pip install "transferkit[export]"' in row(result, "onnx").obstacle


def test_bf16_without_units_for_it_is_a_row_that_says_so(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms, "has_fast_bf16", lambda _: False)

    assert row(measured(run, "bf16"), "bf16").obstacle == "this processor has no units for bf16"


def test_test_images_are_opened_only_when_asked_for_and_that_is_said(run: Run, result: Benchmark) -> None:
    opened = measured(run, "fp32", on="test")

    assert opened.images == 20
    assert "The test images were opened" in repr(opened)
    assert "opened" not in repr(result)


def test_a_run_without_val_names_the_other_part(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    splits = Splits(images(8), images(40).subset([]), SealedImages(images(20)))
    monkeypatch.setattr(benchmarks, "same_images", lambda *_: splits)

    with pytest.raises(TransferkitError, match=r"no val images\. Choose the others with on='test'"):
        measured(run, "fp32")


def test_a_busy_machine_is_said(result: Benchmark) -> None:
    assert "other programs keep this machine busy (load 99.0" in repr(result)


def test_the_command_prints_one_json_document(run: Run) -> None:
    outcome = CliRunner().invoke(app, ["benchmark", str(run.path), "--formats", "fp32", "--threads", "1", "--json"])

    document = json.loads(outcome.stdout)
    assert [entry["form"] for entry in document["rows"]] == ["eager", "fp32"]
    assert document["rows"][1]["measured"]["same_answers"] == 40


def test_tables_fit_into_80_columns(result: Benchmark) -> None:
    for table in result.tables():
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        assert sum(widths) + 2 * (len(widths) - 1) <= 80


# ------------------------------------------------------------------------------------------------------------ turns


def test_forms_take_turns_and_the_first_pass_of_a_turn_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    clock = SimpleNamespace(perf_counter=lambda: float(len(asked)))
    monkeypatch.setattr(turns, "time", clock)

    def asks(name: str) -> Callable[[npt.NDArray[np.uint8]], None]:
        return lambda _: asked.append(name)

    seconds = turns.seconds_of({"a": asks("a"), "b": asks("b")}, np.zeros((1, 3, 4, 4), np.uint8), rounds=2)

    assert asked == ["a", "a", "b", "b"] * 2
    assert seconds["a"].tolist() == [1.0, 1.0]  # one pass of the two


def test_speed_is_the_median_of_the_ratios_within_a_turn() -> None:
    form = {"slow": np.array([4.0, 9.0, 2.0]), "fast": np.array([1.0, 3.0, 2.0])}  # ratios 4, 3 and 1

    assert benchmarks.speed_of(form["fast"], form["slow"], 1).times == 3.0


@pytest.mark.slow
def test_exported_forms_give_the_runs_answers(run: Run) -> None:
    result = measured(run, "onnx", "torch-export")

    assert [entry.form for entry in result.rows if entry.measured] == ["eager", "fp32", "onnx", "torch-export"]
    assert all(entry.measured.same_answers == 40 for entry in result.rows if entry.measured)


def test_a_form_is_asked_about_every_image_once() -> None:
    asked: list[int] = []

    def logits(batch: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        asked.append(len(batch))
        return np.eye(4, dtype=np.float32)[batch[:, 0, 0, 0] % 4]

    from transferkit.runtime.console import SILENT

    answer = benchmarks.answered(Form(logits, 0), images(150), "toy", SILENT)

    assert asked == [64, 64, 22]
    assert answer.classes.tolist() == (images(150).pixels[:, 0, 0, 0] % 4).tolist()
