"""A whole run whose images stay in their shards: stopped inside an epoch, it goes on at the batch."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import transferkit
from transferkit.runtime.files import read_arrays
from transferkit.training import checkpoint, epoch

pytestmark = pytest.mark.scale
KEYS: dict[str, Any] = {"stream": True, "stream_window": 32, "epochs": 2, "batch_size": 16, "size": 8, "quiet": True}


def write_shards(folder: Path) -> Path:
    """Five shards of 24 dark and light images."""
    folder.mkdir()
    for shard in range(5):
        part = "test" if shard == 4 else "train"
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
