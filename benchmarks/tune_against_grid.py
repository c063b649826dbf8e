"""Successive halving against the whole grid of the same space: test accuracy of what each chooses on val, and steps.

Every setting of the grid is trained at full length on train and judged on val, as `transferkit tune` judges its short
trainings; each side's choice is then trained once more as a run, for which test is opened. Where both choose the same
setting, the difference is zero by construction.

    python benchmarks/tune_against_grid.py OUT --weights resnet18-tiny-imagenet.safetensors \
        --target textures=folder:DATA/textures --target cifar10=cifar10 --seeds 1
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from transferkit import run as story
from transferkit.data import datasets
from transferkit.metrics.statistics import paired_difference
from transferkit.recipe import TuningRecipe, points_of, tuning_from_options
from transferkit.runs.run_directory import Run
from transferkit.runtime.console import SILENT, Console
from transferkit.runtime.files import write_text
from transferkit.studies.tune.halving import Rung
from transferkit.studies.tune.results import Trial
from transferkit.studies.tune.searches import search_grid
from transferkit.studies.tune.trials import Workshop
from transferkit.studies.tune.tune import chosen_trial, full_length, rungs

SPACE = {
    "lr_factor": (1.0, 0.3, 3.0),
    "freeze_to": ("default", "layer1", "layer2"),
    "augment": ("none", "trivial", "colour"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--target", action="append", required=True, help="NAME=DATA")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int, default=9)
    parser.add_argument("--labels", type=int, default=30)
    parser.add_argument("--size", type=int, default=32)
    given = parser.parse_args()
    for seed in given.seeds:
        for target in given.target:
            name, _, data = target.partition("=")
            options = {
                "weights": given.weights,
                "epochs": given.epochs,
                "size": given.size,
                "limit_per_class": given.labels,
                "val_fraction": 0.4,
                "refit": False,
                "seed": seed,
                "subset_seed": seed,
            }
            tuning = tuning_from_options("resnet18", data, SPACE, {}, options)
            result = {"target": name, "seed": seed, **measure(tuning, given.out / f"{name}-{seed}")}
            print(json.dumps(result), flush=True)
            write_text(given.out / f"{name}-{seed}.json", json.dumps(result, indent=1))


def measure(tuning: TuningRecipe, folder: Path) -> dict[str, Any]:
    """What both sides chose, what it gets on test, and the steps of each."""
    splits = datasets.load(tuning.base.data, SILENT)
    work = Workshop(tuning, splits, story.start_machine(tuning.base), folder, Console())
    length, settings = full_length(tuning.base, splits), list(points_of(SPACE))
    halved = search_grid(tuning, SPACE, rungs(len(settings), length, tuning.eta), work.trials)
    grid = work.trials(settings, Rung(2, length, len(settings)))
    chosen = {"tune": chosen_trial(halved), "grid": chosen_trial(grid)}
    answers = {side: right(tuning, trial, folder) for side, trial in chosen.items()}
    difference = paired_difference(answers["tune"], answers["grid"], over="images")
    spent = sum(trial.steps for trial in halved) + grid[0].steps
    return {
        "train": len(splits.train),
        "val": len(splits.val),
        "n": answers["grid"].shape[-1],
        "chosen": {side: trial.values for side, trial in chosen.items()},
        "val_accuracy_at_full_length": {side: at_full_length(grid, trial) for side, trial in chosen.items()},
        "test": {side: float(rows.mean()) for side, rows in answers.items()},
        "difference": difference.difference,
        "interval": difference.interval.bounds,
        "steps": {"tune": spent, "grid": sum(trial.steps for trial in grid)},
        "share": spent / sum(trial.steps for trial in grid),
        "settings": len(settings),
    }


def at_full_length(grid: list[Trial], chosen: Trial) -> float | None:
    """The val accuracy of a setting in the grid."""
    return next(trial.accuracy for trial in grid if trial.values == chosen.values)


def right(tuning: TuningRecipe, trial: Trial, folder: Path) -> Any:
    """(1, N) bool, which test images the setting's run at full length gets right."""
    key = "-".join(f"{name}{value}" for name, value in trial.values.items()) or "defaults"
    place = folder / "runs" / key
    if not Run(place).is_finished:
        story.run(tuning.recipe(trial.values), place, resume=True, console=SILENT)
    return np.stack([Run(place).outputs("test").is_right])


if __name__ == "__main__":
    main()
