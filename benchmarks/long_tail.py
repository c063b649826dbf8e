"""What each correction for rare classes does to fine-tuning on a long tail of CIFAR-10, class by class.

    python benchmarks/long_tail.py CIFAR10 OUT --backbone resnet18 --weights FILE

CIFAR10 holds train/CLASS/*.jpg and test/CLASS/*.jpg. Class k of 10 gets `most` x ratio^(-k/9) images to learn from (Cui
et al. 2019, arXiv:1901.05555, section 5.1); which class is how rare, and which of its images, follows from the seed.
The 1,000 test images of each class choose nothing; on them, accuracy and balanced accuracy are the same number. Runs
that are finished are not made again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from finetuning.images import Labelled, folder_images
from unknown_after_finetuning import write_arrays

import transferkit
from transferkit.metrics.outputs import Outputs
from transferkit.metrics.statistics import paired_difference
from transferkit.runs.run_directory import Run

SIDE_PX = 32
ARMS = {
    "nothing": {},
    "`--class-weight balanced`": {"class_weight": "balanced"},
    "`--sampler balanced`": {"sampler": "balanced"},
    "`--logit-adjustment 1`": {"logit_adjustment": 1.0},
}


def long_tail(images: Labelled, most: int, ratio: float, seed: int) -> Labelled:
    """Images of every class, fewer from class to class, the classes in an order drawn with the seed."""
    draws, classes = np.random.default_rng(seed), len(images.classes)
    sizes = np.round(most * ratio ** (-np.arange(classes) / (classes - 1))).astype(int)
    rows = [
        draws.choice(np.flatnonzero(images.labels == label), size, replace=False)
        for label, size in zip(draws.permutation(classes), sizes, strict=True)
    ]
    return images.subset(np.concatenate(rows))


def recalls(outputs: Outputs) -> np.ndarray:
    """(C,), the share of each class that is recognised."""
    labels = outputs.require_labels()
    return np.array([outputs.is_right[labels == label].mean() for label in range(len(outputs.class_names))])


def row(name: str, of_arm: list[Outputs], of_nothing: list[Outputs], counts: list[np.ndarray]) -> str:
    """Of an arm: the worst class, the three rarest, all classes, and the differences from doing nothing."""
    ours, theirs = (np.array([recalls(outputs) for outputs in side]) for side in (of_arm, of_nothing))
    rare = [np.argsort(of_seed)[:3] for of_seed in counts]
    worst = 100 * ours.min(axis=1)
    rarest = np.mean([100 * recall[rows].mean() for recall, rows in zip(ours, rare, strict=True)])
    cells = (
        f"{worst.mean():.1f} ({', '.join(f'{value:.1f}' for value in worst)}) | {rarest:.1f} | {100 * ours.mean():.1f}"
    )
    if of_arm is of_nothing:
        return f"| {name} | {cells} | | |"
    gain = worst - 100 * theirs.min(axis=1)
    paired = paired_difference(*(np.stack([o.is_right for o in side]) for side in (of_arm, of_nothing)), over="seeds")
    low, high = paired.interval.bounds
    balanced = f"{100 * paired.difference:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"
    return f"| {name} | {cells} | {gain.mean():+.1f} ({gain.min():+.1f} to {gain.max():+.1f}) | {balanced} |"


def main() -> None:
    """Print a table once all runs are there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cifar10", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--backbone", required=True)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--most", type=int, default=500)
    parser.add_argument("--ratio", type=float, default=50.0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=6)
    given = parser.parse_args()
    pool, test = (folder_images(given.cifar10 / part, SIDE_PX) for part in ("train", "test"))
    counts, answers = [], {name: [] for name in ARMS}
    for seed in range(given.seeds):
        train = long_tail(pool, given.most, given.ratio, seed)
        counts.append(np.bincount(train.labels))
        data = write_arrays(given.out / f"{seed}.npz", train, test)
        options = {"weights": given.weights, "size": SIDE_PX, "epochs": given.epochs, "refit": False, "seed": seed}
        for number, (name, correction) in enumerate(ARMS.items()):
            out = given.out / f"{seed}-{number}"
            if not Run(out).is_finished:
                transferkit.finetune(given.backbone, data, out=out, resume=True, quiet=True, **options, **correction)
            answers[name].append(Run(out).outputs("test"))
            print(f"seed {seed}, {name}: recalls {np.round(100 * recalls(answers[name][-1]), 1).tolist()}", flush=True)
    print(
        f"{len(train):,} images to learn from, {counts[-1].max()} to {counts[-1].min()} of a class; {len(test):,} test"
    )
    print("| | worst class, % (by seed) | three rarest, % | balanced, % | worst class, gain | balanced, gain |")
    for name in ARMS:
        print(row(name, answers[name], answers["nothing"], counts))


if __name__ == "__main__":
    main()
