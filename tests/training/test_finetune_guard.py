"""A guard: default fine-tuning is not shown to be worse than the probe of the same weights."""

from __future__ import annotations

from pathlib import Path

import pytest

import transferkit
from transferkit.metrics.statistics import paired_difference

LETTERS, DIGITS = 8, 10  # epochs
SIZE = {"resnet-mini": 16, "lenet": 32}  # with BatchNorm and without


@pytest.mark.slow
@pytest.mark.parametrize("backbone", SIZE)
def test_default_finetuning_is_not_shown_to_be_worse_than_its_probe(backbone: str, tmp_path: Path) -> None:
    size = SIZE[backbone]
    letters = transferkit.scratch(
        backbone, "glyphs", epochs=LETTERS, size=size, threads=1, quiet=True, out=tmp_path / "letters"
    )
    shared = {"weights": str(letters.path), "size": size, "limit_per_class": 20, "threads": 1, "quiet": True}

    probe = transferkit.probe(backbone, "digits", out=tmp_path / "probe", **shared).outputs("test")
    tuned = transferkit.finetune(backbone, "digits", epochs=DIGITS, out=tmp_path / "tuned", **shared).outputs("test")

    assert tuned.ids == probe.ids
    right = [(outputs.predictions == outputs.labels)[None] for outputs in (tuned, probe)]  # (1 run, N)
    assert right[1].mean() > 0.4  # the letters taught something
    assert paired_difference(*right, over="images").interval.high >= 0
