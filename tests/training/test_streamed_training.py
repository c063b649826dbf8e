"""A whole run whose images stay in their shards: stopped inside an epoch, it goes on at the batch."""

from __future__ import annotations

import io
import itertools
import os
import signal
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from several_processes import command

import transferkit
from transferkit.runtime.files import read_arrays
from transferkit.training import checkpoint, epoch

pytestmark = pytest.mark.scale
KEYS: dict[str, Any] = {"stream": True, "stream_window": 32, "epochs": 2, "batch_size": 16, "size": 8, "quiet": True}


TYPED = ["scratch", "resnet-mini", "data.stream=true", "data.stream_window=32", "--epochs", "3", "--batch-size", "15"]
TYPED += ["--size", "8", "--threads", "1", "--precision", "fp32", "--sync-batchnorm", "--out", "run"]
TYPED += ["--optimizer", "sgd", "--lr", "0.002", "--weight-decay", "0"]


def write_shards(folder: Path, shards: int = 5) -> Path:
    """So many shards of 24 dark and light images, the last one for the test."""
    folder.mkdir(parents=True)
    for shard in range(shards):
        part = "test" if shard == shards - 1 else "train"
        with tarfile.open(folder / f"{part}-{shard}.tar", "w") as archive:
            for number in range(24):
                level = 60 + 90 * (number % 2) + shard
                file = io.BytesIO()
                Image.new("RGB", (8, 8), (level, level, level)).save(file, "PNG")
                for ending, content in ((".png", file.getvalue()), (".cls", b"ab"[number % 2 : number % 2 + 1])):
                    member = tarfile.TarInfo(f"{number:03d}{ending}")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
    return folder


def test_a_streamed_run_stopped_inside_an_epoch_ends_with_the_weights_of_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = f"shards:{write_shards(tmp_path / 'shards')}"
    transferkit.scratch("resnet-mini", data, out=tmp_path / "whole", **KEYS)
    monkeypatch.setattr(epoch, "SECONDS_BETWEEN_SAVES_INSIDE", 0.0)
    save = checkpoint.save

    def save_then_stop(training: checkpoint.Training, path: Path | None) -> None:
        save(training, path)
        if training.epochs == 1 and training.steps_into_epoch == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(epoch, "save", save_then_stop)
    with pytest.raises(KeyboardInterrupt):
        transferkit.scratch("resnet-mini", data, out=tmp_path / "stopped", **KEYS)
    monkeypatch.setattr(epoch, "save", save)

    transferkit.scratch("resnet-mini", data, out=tmp_path / "stopped", resume=True, **KEYS)

    weights, others = (read_arrays(tmp_path / name / "model.safetensors")[0] for name in ("whole", "stopped"))
    assert weights.keys() == others.keys()
    assert all(np.array_equal(weights[name], others[name]) for name in weights)


def finished(processes: int, folder: Path, shards: Path, *more: str) -> dict[str, np.ndarray]:
    """The weights of a run; each process has its part of every step."""
    folder.mkdir(exist_ok=True)
    ended = command(processes, [*TYPED, "--data", f"shards:{shards}", *more], folder)
    assert ended.codes == [0] * processes, "".join(ended.stderr)
    return read_arrays(folder / "run" / "model.safetensors")[0]


def killed(processes: int, victim: int, folder: Path, shards: Path) -> None:
    """The same run, of which a process is killed inside its second epoch; it saves whenever it can."""

    def die(rank: int) -> None:
        checkpoint.SECONDS_BETWEEN_SAVES = epoch.SECONDS_BETWEEN_SAVES_INSIDE = 0.0
        steps = itertools.count(1)
        take_step = epoch._step

        def dying(*arguments: Any, **options: Any) -> Any:
            if rank == victim and next(steps) == 5:  # of three in an epoch
                os.kill(os.getpid(), signal.SIGKILL)
            return take_step(*arguments, **options)

        epoch._step = dying

    ended = command(processes, [*TYPED, "--data", f"shards:{shards}"], folder, die)
    assert ended.codes[victim] == -signal.SIGKILL


def difference(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> float:
    assert one.keys() == other.keys()
    return max(float(np.abs(one[name].astype(float) - other[name]).max()) for name in one)


def test_fewer_shards_than_processes_leave_none_without_work_and_change_nothing(tmp_path: Path) -> None:
    shards = write_shards(tmp_path / "shards", 2)

    one, three = (finished(count, tmp_path / str(count), shards) for count in (1, 3))

    assert difference(one, three) < 1e-4


@pytest.mark.parametrize(("processes", "victim"), [(1, 0), (2, 1)], ids=["alone", "one of two"])
def test_a_streamed_run_that_was_killed_ends_with_the_weights_of_one_that_was_not(
    processes: int, victim: int, tmp_path: Path
) -> None:
    shards = write_shards(tmp_path / "shards", 3)
    whole = finished(processes, tmp_path / "whole", shards)
    (tmp_path / "killed").mkdir()
    killed(processes, victim, tmp_path / "killed", shards)

    resumed = finished(processes, tmp_path / "killed", shards, "--resume")

    assert difference(whole, resumed) == 0
