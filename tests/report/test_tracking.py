"""Runs told to other tools while they train: what, when, and what happens where one fails. No test uses a network."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from small_trainings import MACHINE, classifier, images, settings

import transferkit
from transferkit.report import tracking
from transferkit.runs.run_directory import Run
from transferkit.runtime.console import SILENT
from transferkit.runtime.context import Context
from transferkit.runtime.errors import TransferkitError
from transferkit.training import parameter_groups, resolved_training, train

SHORT: dict[str, Any] = {"size": 8, "batch_size": 256, "quiet": True, "limit_per_class": 20}


class Notebook:
    """A tool that remembers what it is told."""

    def __init__(self, model: Path, log: Callable[[int], object] = str) -> None:
        self.model, self.on_log = model, log
        self.settings: Mapping[str, str] = {}
        self.epochs: list[int] = []
        self.numbers: dict[tuple[str, int], float] = {}
        self.before_the_end: list[int] = []
        self.verdict, self.ends = "", []

    def begin(self, _run: Run, settings: Mapping[str, str]) -> Notebook:
        self.settings = settings
        return self

    def log(self, numbers: Mapping[str, float], epoch: int) -> None:
        self.on_log(epoch)
        self.epochs.append(epoch)
        self.numbers |= {(tag, epoch): value for tag, value in numbers.items()}
        if not self.model.exists():
            self.before_the_end.append(epoch)

    def finish(self, _run: Run, verdict: str) -> None:
        self.verdict = verdict

    def close(self, *, is_complete: bool) -> None:
        self.ends.append(is_complete)


def told(notebook: Notebook, monkeypatch: pytest.MonkeyPatch) -> Notebook:
    """The notebook in the place of a tool of the menu."""
    tool = SimpleNamespace(PACKAGE="json", EXTRA="wandb", begin=notebook.begin)
    monkeypatch.setitem(tracking.TOOLS, "wandb", tool)  # type: ignore[arg-type]
    return notebook


def test_settings_epochs_test_numbers_and_verdict_are_told_the_epochs_while_it_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook = told(Notebook(tmp_path / "run" / "model.safetensors"), monkeypatch)

    run = transferkit.scratch("resnet-mini", "digits", epochs=2, track="wandb", out=tmp_path / "run", **SHORT)

    assert (notebook.settings["method.epochs"], notebook.settings["method.schedule"]) == ("2", "cosine")
    assert notebook.epochs == [0, 1, 2, 2]  # the test numbers stand at the last epoch
    assert notebook.before_the_end == [0, 1, 2]
    assert notebook.numbers["train/loss", 1] == run.folder.history.epochs[1].loss
    assert notebook.numbers["test/accuracy", 2] == run.evaluation.test.accuracy
    assert "test images" in notebook.verdict
    assert notebook.ends == [True]


@pytest.mark.slow
def test_a_second_training_on_train_and_val_goes_on_with_the_epochs_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook = told(Notebook(tmp_path), monkeypatch)

    run = transferkit.finetune(
        "resnet-mini", "digits", weights="none", epochs=1, track="wandb", out=tmp_path / "run", **SHORT
    )

    assert notebook.epochs[:-1] == [epoch.epoch for epoch in run.folder.history] == [0, 1, 2]


def test_a_tool_that_fails_is_left_alone_and_the_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def gone(epoch: int) -> None:
        if epoch == 1:
            raise ConnectionError("no route to host")

    notebook = told(Notebook(tmp_path, gone), monkeypatch)

    run = transferkit.scratch(
        "resnet-mini", "digits", epochs=2, track="wandb", out=tmp_path / "run", **{**SHORT, "quiet": False}
    )

    assert len(run.folder.history) == 3
    assert notebook.epochs == [0]
    assert "--track wandb failed and is left alone now: " in capsys.readouterr().err


def test_a_tool_that_cannot_begin_stops_the_run_before_it_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_login(_run: Run, _settings: Mapping[str, str]) -> Notebook:
        raise RuntimeError("no API key")

    tool = SimpleNamespace(PACKAGE="json", EXTRA="wandb", begin=no_login)
    monkeypatch.setitem(tracking.TOOLS, "wandb", tool)  # type: ignore[arg-type]

    with pytest.raises(
        TransferkitError, match=r"Tracking by wandb could not begin: .*no API key\. Mend that, or do without track="
    ):
        transferkit.scratch("resnet-mini", "digits", epochs=1, track="wandb", out=tmp_path / "run", **SHORT)


def test_a_stopped_run_is_told_as_one_that_is_not_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(epoch: int) -> None:
        if epoch == 1:
            raise KeyboardInterrupt

    notebook = told(Notebook(tmp_path, stop), monkeypatch)

    with pytest.raises(KeyboardInterrupt):
        transferkit.scratch("resnet-mini", "digits", epochs=2, track="wandb", out=tmp_path / "run", **SHORT)

    assert notebook.ends == [False]


def test_a_resumed_training_tells_its_earlier_epochs_first(tmp_path: Path) -> None:
    chosen, told_epochs = resolved_training(settings(epochs=2)), []
    context = Context(MACHINE, SILENT, 0, tmp_path, note_epoch=lambda epoch: told_epochs.append(epoch.epoch))
    for _ in range(2):
        network = classifier()
        train(network, images(), images(16, 1), chosen, parameter_groups(network, chosen), context)

    assert told_epochs == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize(("track", "extra"), [("tensorboard", "track"), ("mlflow", "mlflow"), ("wandb", "wandb")])
def test_each_tool_names_the_extra_that_it_lacks(track: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)

    with pytest.raises(TransferkitError, match=rf'--track {track} needs .* pip install "transferkit\[{extra}\]"'):
        tracking.require(track)


def test_tensorboard_reads_the_live_events_with_settings_and_verdict(tmp_path: Path) -> None:
    reading: Any = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")

    run = transferkit.scratch("resnet-mini", "digits", epochs=2, track="tensorboard", out=tmp_path / "run", **SHORT)

    events = reading.EventAccumulator(str(run.path / "tensorboard")).Reload()
    history = run.folder.history.epochs
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [
        (epoch.epoch, pytest.approx(epoch.loss)) for epoch in history[1:]
    ]
    assert [event.value for event in events.Scalars("test/accuracy")] == pytest.approx([run.evaluation.test.accuracy])
    assert b"| method.epochs | 2 |" in events.Tensors("settings/text_summary")[0].tensor_proto.string_val[0]
    assert b"test images" in events.Tensors("verdict/text_summary")[0].tensor_proto.string_val[0]


@pytest.mark.slow
def test_mlflow_reads_the_run_in_its_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow: Any = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")

    run = transferkit.scratch("resnet-mini", "digits", epochs=2, track="mlflow", out=tmp_path / "run", **SHORT)

    client = mlflow.MlflowClient((tmp_path / "store").as_uri())
    (tracked,) = client.search_runs([client.get_experiment_by_name("transferkit").experiment_id])
    assert tracked.info.status == "FINISHED"
    assert tracked.data.params["method.epochs"] == "2"
    assert "test images" in tracked.data.tags["mlflow.note.content"]
    losses = client.get_metric_history(tracked.info.run_id, "train/loss")
    assert [(metric.step, metric.value) for metric in losses] == [
        (epoch.epoch, epoch.loss) for epoch in run.folder.history.epochs[1:]
    ]


@pytest.mark.slow
def test_wandb_keeps_the_run_in_its_folder_when_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")

    run = transferkit.scratch("resnet-mini", "digits", epochs=2, track="wandb", out=tmp_path / "run", **SHORT)

    (record,) = (run.path / "wandb").glob("offline-run-*/run-*.wandb")
    words = (b"method.epochs", b"train/loss", b"test/accuracy", b"test images")
    deadline = time.monotonic() + 30  # the client's own process may still be writing
    while not all(word in record.read_bytes() for word in words) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert [word for word in words if word not in record.read_bytes()] == []
    listed = (run.path / ".transferkit.jsonl").read_text()
    assert f"wandb/{record.parent.name}/{record.name}" in listed  # so that --overwrite removes it
