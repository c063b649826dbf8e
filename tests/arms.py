"""Finished runs of several arms, made without training, for the tests of comparisons and studies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from synthetic_runs import FACTS, MODEL

from transferkit import recipe as recipes
from transferkit.metrics.evaluation import evaluate
from transferkit.metrics.history import Epoch, History
from transferkit.metrics.outputs import Outputs
from transferkit.recipe import Recipe
from transferkit.runs.run_directory import Run
from transferkit.runtime import folders
from transferkit.runtime.files import write_text

NAMES = ("cat", "dog")
COSTS = {
    "flops_per_image": 2_000_000,
    "steps": 30,
    "images_trained_on": 900,
    "training_flops": 5_400_000_000,
    "predicted_images_per_second": 1234.5,
    "peak_memory_bytes": 900_000_000,
}


def outputs(correct: Sequence[int], names: Sequence[str] = NAMES, groups: tuple[str, ...] | None = None) -> Outputs:
    """Outputs that are right on the images where `correct` is 1; the labels are 0, 1, 0, 1 ..."""
    right = np.asarray(correct, dtype=bool)
    labels = np.arange(len(right)) % len(names)
    predicted = np.where(right, labels, (labels + 1) % len(names))
    logits = np.eye(len(names), dtype=np.float32)[predicted]
    ids = tuple(f"image-{number}" for number in range(len(right)))
    return Outputs(np.zeros((len(right), 2), np.float32), logits, labels.astype(np.int64), ids, tuple(names), groups)


def recipe(method: str = "finetune", seed: int = 0, **keys: Any) -> Recipe:
    settings = {"name": method, "size": 8, **({} if method == "probe" else {"epochs": 3, "batch_size": 16}), **keys}
    return recipes.parse({"data": "digits", "backbone": {"name": "resnet20"}, "method": settings, "seed": seed})


def finished(folder: Path, made_by: Recipe, correct: Sequence[int], names: Sequence[str] = NAMES, **facts: Any) -> Run:
    """What a comparison reads of a run."""
    with folders.hold(folder, "run"):
        return _written(Run(folder), made_by, correct, names, facts)


def _written(run: Run, made_by: Recipe, correct: Sequence[int], names: Sequence[str], facts: dict[str, Any]) -> Run:
    run.write_recipe(made_by)
    run.write_json("model", MODEL | {"class_names": list(names)})
    run.write_json("facts", FACTS | {"costs": COSTS} | facts)
    run.write_json(
        "environment", {"packages": {"transferkit": "0.1.0"}, "device": "CPU", "precision": "fp32", "threads": 1}
    )
    is_probe = made_by.method.name == "probe"
    epochs = [] if is_probe else [1, 2, 3]
    run.write_history(
        History(tuple(Epoch(e, step=10 * e, loss=1 / e, val_accuracy=0.2 * e, seconds=5.0) for e in epochs))
    )
    run.save_outputs({"test": outputs(correct, names)})
    run.write_evaluation(evaluate(outputs(correct, names)))
    write_text(run.path / "report.html", "")
    return run


def shares(*counts: tuple[int, int]) -> list[int]:
    """Ones and zeros in runs: `shares((1, 3), (0, 2))` is 1, 1, 1, 0, 0."""
    return [value for value, count in counts for _ in range(count)]
