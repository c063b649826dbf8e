"""Runs for TensorBoard: what is written, that nothing is by default, and what is said without the extra."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from synthetic_runs import finished_run
from typer.testing import CliRunner

import transferkit
from transferkit import recipe as recipes
from transferkit.cli.app import app
from transferkit.metrics.history import History
from transferkit.report import tensorboard as tracking
from transferkit.runs import run_directory
from transferkit.runs.run_directory import Run
from transferkit.runtime.errors import TransferkitError


def tracked_run(folder: Path) -> Run:
    run = finished_run(folder)
    run.write_recipe(run.recipe.model_copy(update={"track": "tensorboard"}))
    return Run(folder)


def test_nothing_is_written_unless_asked(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run")

    assert run.recipe.track == "none"
    assert tracking.write(run) is None
    assert not (run.path / "tensorboard").exists()


def test_scalars_are_those_of_the_log_and_of_the_evaluation(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run")

    found = {(tag, epoch): (value, time) for tag, value, epoch, time in tracking.scalars(run)}

    assert found["train/loss", 2][0] == 0.5
    assert found["val/accuracy", 1][0] == pytest.approx(0.6)
    assert found["test/accuracy", 2][0] == 0.7
    assert found["train/loss", 2][1] - found["train/loss", 1][1] == 30  # seconds of the second epoch


def test_tensorboard_reads_scalars_confusion_matrix_and_mistakes(tmp_path: Path) -> None:
    reading: Any = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")

    folder = tracking.write(tracked_run(tmp_path / "run"))

    events = reading.EventAccumulator(str(folder)).Reload()
    assert [event.value for event in events.Scalars("train/loss")] == pytest.approx([1.0, 0.5])
    assert [event.step for event in events.Scalars("test/accuracy")] == [2]
    assert events.Images("test/confusion matrix")[0].width > 200
    assert len(events.Images("test/most confident mistakes")) == 1


def test_a_probe_without_epochs_is_tracked_too(tmp_path: Path) -> None:
    run = tracked_run(tmp_path / "run")
    run.write_history(History())

    assert {epoch for _, _, epoch, _ in tracking.scalars(run)} == {0}


def test_overwriting_a_run_removes_its_events(tmp_path: Path) -> None:
    run = tracked_run(tmp_path / "run")
    tracking.write(run)
    (run.path / "tensorboard" / "events.out.tfevents.1").write_bytes(b"of another program")

    run_directory.prepare_run_folder(run, run.recipe, resume=False)

    assert [path.name for path in (run.path / "tensorboard").iterdir()] == ["events.out.tfevents.1"]


def test_without_the_extra_the_run_is_refused_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)

    with pytest.raises(TransferkitError, match=r'pip install "transferkit\[track\]"'):
        transferkit.probe("resnet20", data="digits", weights="none", track="tensorboard", out=tmp_path / "run")

    assert not (tmp_path / "run").exists()


def test_tracking_does_not_change_the_runs_name() -> None:
    plain = recipes.parse({"data": "digits", "backbone": {"name": "resnet18"}, "method": {"name": "probe"}})

    assert plain.model_copy(update={"track": "tensorboard"}).short_hash == plain.short_hash


def test_an_unknown_tracker_is_refused() -> None:
    result = CliRunner().invoke(app, ["probe", "resnet18", "--track", "neptune", "--dry-run"])

    assert result.exit_code != 0
    assert "tensorboard" in result.output
