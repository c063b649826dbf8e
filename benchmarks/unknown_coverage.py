"""How many known images a probe of few labels accepts, and how often its candidate sets hold the right class.

The body is frozen, so its features are extracted once and each draw only solves heads:

    transferkit extract resnet18 TRAIN --weights FILE --size 64 --out train.npy   # and test.npy
    python benchmarks/unknown_coverage.py train.npy test.npy

Each draw takes so many labels per class, a tenth of them as val, and sets the thresholds in two ways: from val, and
from training images left out in turn, which a run does below 100 val images. Both are judged on all test images.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from transferkit.data.images import Images
from transferkit.features.cached_outputs import under_head
from transferkit.metrics.outputs import Outputs
from transferkit.ood import rejection
from transferkit.ood.rejection import CANDIDATES_MISS, Rejection
from transferkit.recipe import ProbeSettings
from transferkit.training.methods.cross_validation import cross_validated
from transferkit.training.methods.probe_heads import LabelledFeatures, linear

CPU = torch.device("cpu")


def labelled_features(path: Path) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Features (N, D), labels (N,) and class names of an extraction."""
    with path.with_name(path.name + ".index.csv").open(encoding="utf-8", newline="") as file:
        classes = [row["class"] for row in csv.DictReader(file)]
    names = tuple(sorted(set(classes)))
    return np.load(path), np.array([names.index(name) for name in classes]), names


def images_of(labels: np.ndarray, names: tuple[str, ...]) -> Images:
    """Images without a picture."""
    return Images.from_pixels(np.zeros((len(labels), 3, 1, 1), np.uint8), labels, names)


def thresholds(
    features: np.ndarray, labels: np.ndarray, names: tuple[str, ...], seed: int
) -> Iterator[tuple[str, Rejection, torch.nn.Module]]:
    """Both ways for one draw, each with its head."""
    val, train = np.split(np.random.default_rng(seed).permutation(len(labels)), [len(labels) // 10])
    parts = [torch.from_numpy(array[rows]) for rows in (train, val) for array in (features, labels)]
    labelled, settings = LabelledFeatures(*parts, len(names)), ProbeSettings(name="probe")
    solved = linear(labelled, settings, seed)
    val_outputs = under_head(solved.honest, features[val], images_of(labels[val], names), CPU)
    train_images = images_of(labels[train], names)
    bank = rejection.banked(under_head(solved.head, features[train], train_images, CPU), seed)
    fixed = settings.model_copy(update={"C": solved.facts.C})
    held_out = cross_validated(linear, labelled, train_images, fixed, seed)
    yield "val", rejection.fit(val_outputs, bank), solved.head
    yield "left out", rejection.fit(None, bank, cross_validated=held_out), solved.head


def coverages(limits: Rejection, test: Outputs) -> tuple[float, float, float]:
    """Shares of test images that are accepted, and whose candidate set holds the right class; classes per set."""
    threshold = limits.threshold()
    accepted = float((limits.scores(test) <= threshold).mean()) if threshold is not None else float("nan")
    sets = limits.candidates(test)
    return accepted, float(sets[np.arange(len(test)), test.require_labels()].mean()), float(sets.sum(axis=1).mean())


def main() -> None:
    """Print a table: mean, standard deviation and range over draws."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("--labels", type=int, nargs="+", default=[5, 10, 50], help="per class")
    parser.add_argument("--draws", type=int, default=20)
    arguments = parser.parse_args()
    features, labels, names = labelled_features(arguments.train)
    test_features, test_labels, _ = labelled_features(arguments.test)
    test_images = images_of(test_labels, names)
    print(f"{len(test_labels):,} test images, {arguments.draws} draws, sets that miss {CANDIDATES_MISS:.0%}")
    print("| labels per class | thresholds from | accepted, % | range | sets hold it, % | range | classes per set |")
    for per_class in arguments.labels:
        shares: dict[str, list[tuple[float, float, float]]] = {}
        for seed in range(arguments.draws):
            draws = np.random.default_rng(seed)
            rows = np.concatenate(
                [draws.choice(np.flatnonzero(labels == label), per_class, replace=False) for label in range(len(names))]
            )
            for way, limits, head in thresholds(features[rows], labels[rows], names, seed):
                test = under_head(head, test_features, test_images, CPU)
                shares.setdefault(way, []).append(coverages(limits, test))
        for way, values in shares.items():
            accepted, held, size = np.array(values).T
            cells = [
                f"{100 * v.mean():.1f} ± {100 * v.std(ddof=1):.1f} | {100 * v.min():.1f}–{100 * v.max():.1f}"
                for v in (accepted, held)
            ]
            print(f"| {per_class} | {way} | {cells[0]} | {cells[1]} | {size.mean():.1f} |", flush=True)


if __name__ == "__main__":
    main()
