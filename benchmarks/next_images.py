"""Whether labels of chosen images help a probe more than labels of random ones, from 100 to 300 labels.

The body is frozen, so its features are extracted once:

    transferkit extract resnet18 TRAIN --weights FILE --size 64 --out train.npy   # and test.npy
    python benchmarks/next_images.py train.npy test.npy

Every seed draws a pool of 3,000 training images, labels 100 of them at random, and then four times 50 more, chosen in
each of several ways; the judged number is the mean accuracy at 150, 200, 250 and 300 labels, minus that of random
labels from the same start. The training images are cut in three: pools to choose the method with, 10,000 images that
the methods are judged on, and pools for the test. The test images are opened once, for the method that was best on
those 10,000. `coverage` is what `transferkit next` does, by the same function.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy import stats

from transferkit.models.linear import fit_probe
from transferkit.studies.next_images.coverage import pick

START, ROUND, ROUNDS = 100, 50, 4
JUDGED_ON = 10_000  # training images that the methods are judged on


@dataclass(frozen=True)
class Round:
    """Where a method stands: the features of a pool, who is labelled, what the probe says, and chance."""

    features: np.ndarray
    labelled: np.ndarray
    probabilities: np.ndarray
    draws: np.random.Generator

    @property
    def margins(self) -> np.ndarray:
        """(N,), the likeliest class ahead of the second one."""
        ordered = np.sort(self.probabilities, axis=1)
        return ordered[:, -1] - ordered[:, -2]

    @property
    def unlabelled(self) -> np.ndarray:
        """Positions in the pool."""
        return np.setdiff1d(np.arange(len(self.features)), self.labelled)


def random(state: Round) -> np.ndarray:
    """Images by chance."""
    return state.draws.choice(state.unlabelled, ROUND, replace=False)


def margin(state: Round) -> np.ndarray:
    """Those of which the probe is least sure."""
    return state.unlabelled[np.argsort(state.margins[state.unlabelled], kind="stable")[:ROUND]]


def covering(state: Round, weights: np.ndarray) -> np.ndarray:
    """Facility location with these weights, among unlabelled images, as the command does it."""
    left = state.unlabelled
    chosen = pick(
        state.features[left],
        state.features[state.labelled],
        ROUND,
        lambda at: np.arange(len(left)) == at,
        weights=weights[left],
    )
    return left[chosen.positions]


def coverage(state: Round) -> np.ndarray:
    """Facility location, every image counted alike."""
    return covering(state, np.ones(len(state.features)))


def weighted_coverage(state: Round) -> np.ndarray:
    """Facility location, images counted by one minus margin."""
    return covering(state, np.maximum(1 - state.margins, 1e-3))


def coverage_then_margin(state: Round) -> np.ndarray:
    """Facility location for the first half of the rounds, the smallest margins after it."""
    is_early = len(state.labelled) < START + ROUND * ROUNDS / 2
    return coverage(state) if is_early else margin(state)


def k_center(state: Round) -> np.ndarray:
    """The image that is farthest from all labelled ones, in its turn (Sener and Savarese, ICLR 2018)."""
    centred = state.features - state.features.mean(axis=0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    nearest, chosen = (unit @ unit[state.labelled].T).max(axis=1), []
    for _ in range(ROUND):
        chosen.append(int(nearest.argmin()))
        nearest = np.maximum(nearest, unit @ unit[chosen[-1]])
    return np.array(chosen)


METHODS: dict[str, Callable[[Round], np.ndarray]] = {
    "random": random,
    "margin": margin,
    "coverage": coverage,
    "margin-weighted coverage": weighted_coverage,
    "coverage, then margin": coverage_then_margin,
    "k-center": k_center,
}


def labelled_features(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Features (N, D) and labels (N,) of an extraction."""
    with path.with_name(path.name + ".index.csv").open(encoding="utf-8", newline="") as file:
        classes = [row["class"] for row in csv.DictReader(file)]
    names = sorted(set(classes))
    return np.load(path).astype(np.float32), np.array([names.index(name) for name in classes])


def probe(features: np.ndarray, labels: np.ndarray, classes: int, seed: int) -> Callable[[np.ndarray], np.ndarray]:
    """The probabilities of a linear probe, C chosen by cross-validation."""
    given = torch.from_numpy(features), torch.from_numpy(labels)
    fit = fit_probe(*given, given[0][:0], given[1][:0], classes, seed=seed)
    return lambda others: fit.head.logits(torch.from_numpy(others)).softmax(dim=1).numpy()


def curve(
    method: Callable[[Round], np.ndarray],
    pool: tuple[np.ndarray, np.ndarray],
    judge: tuple[np.ndarray, np.ndarray],
    seed: int,
) -> list[float]:
    """Accuracies at 150, 200, 250 and 300 labels of a pool."""
    features, labels = pool
    draws = np.random.default_rng(seed)
    labelled = draws.choice(len(labels), START, replace=False)
    accuracies = []
    for _ in range(ROUNDS + 1):
        predict = probe(features[labelled], labels[labelled], int(labels.max()) + 1, seed)
        accuracies.append(float((predict(judge[0]).argmax(axis=1) == judge[1]).mean()))
        if len(accuracies) <= ROUNDS:
            chosen = method(Round(features, labelled, predict(features), draws))
            labelled = np.concatenate([labelled, chosen])
    return accuracies[1:]


def gains(
    names: list[str],
    images: tuple[np.ndarray, np.ndarray],
    judge: tuple[np.ndarray, np.ndarray],
    seeds: range,
    size: int,
) -> dict[str, np.ndarray]:
    """(seeds, rounds), each method's accuracies minus those of random labels, in points."""
    curves: dict[str, list[list[float]]] = {name: [] for name in ["random", *names]}
    for seed in seeds:
        rows = np.random.default_rng(seed).choice(len(images[1]), size, replace=False)
        pool = images[0][rows], images[1][rows]
        for name, values in curves.items():
            values.append(curve(METHODS[name], pool, judge, seed))
        print(
            f"seed {seed}: " + ", ".join(f"{name} {np.mean(values[-1]):.4f}" for name, values in curves.items()),
            flush=True,
        )
    return {name: 100 * (np.array(curves[name]) - np.array(curves["random"])) for name in names}


def in_words(differences: np.ndarray) -> str:
    """Mean over rounds and seeds with its paired 95 % interval (Student's t over seeds), and how it spreads."""
    by_seed = differences.mean(axis=1)
    half = stats.t.ppf(0.975, len(by_seed) - 1) * stats.sem(by_seed)
    rounds = ", ".join(f"{value:+.2f}" for value in differences.mean(axis=0))
    return (
        f"{by_seed.mean():+.2f} points ({by_seed.mean() - half:+.2f} to {by_seed.mean() + half:+.2f}), standard "
        f"deviation over seeds {by_seed.std(ddof=1):.2f}; at 150, 200, 250, 300 labels: {rounds}"
    )


def parsed() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--pool", type=int, default=3_000)
    return parser.parse_args()


def main() -> None:
    """Choose the method on training images, then open the test images for it, once."""
    arguments = parsed()
    features, labels = labelled_features(arguments.train)
    order = np.random.default_rng(0).permutation(len(labels))
    held_out, rest = order[:JUDGED_ON], order[JUDGED_ON:]
    for_choice, for_test = ((features[rows], labels[rows]) for rows in np.array_split(rest, 2))
    candidates = [name for name in METHODS if name != "random"]
    judge = features[held_out], labels[held_out]
    print(f"Choice, on {JUDGED_ON:,} training images, {arguments.seeds} seeds:")
    by_method = gains(candidates, for_choice, judge, range(arguments.seeds), arguments.pool)
    for name, values in by_method.items():
        print(f"  {name}: {in_words(values)}")
    best = max(by_method, key=lambda name: float(by_method[name].mean()))
    print(f"Chosen: {best}")
    test = labelled_features(arguments.test)
    tested = gains([best], for_test, test, range(100, 100 + arguments.seeds), arguments.pool)
    print(f"Test, {len(test[1]):,} images, opened once, {arguments.seeds} other seeds and pools:")
    print(f"  {best}: {in_words(tested[best])}")


if __name__ == "__main__":
    main()
