"""Choosing C for a probe: as it climbs, with every value tried, and scikit-learn's warm-started path with its defaults.

    OMP_NUM_THREADS=1 python benchmarks/choice_of_c.py FOLDER [--weights FILE] [--n 500 2000] [--draws 5]

FOLDER holds one folder of images for each class. For each draw n images are learnt from, a fifth as many (at least 50)
choose C, and the rest judges a head fitted at the chosen C. scikit-learn gets the coarse values upwards on standardised
features. Seconds are those of the process; standardising is part of all of them.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from transferkit import FeatureExtractor
from transferkit.models.linear import choice
from transferkit.models.linear.logistic import fit_linear

Part = tuple[Tensor, Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--weights", default="auto")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--per-class", type=int, default=1000)
    parser.add_argument("--n", type=int, nargs="+", default=[500, 2000])
    parser.add_argument("--draws", type=int, default=5)
    given = parser.parse_args()
    paths, labels = files(given.folder, given.per_class)
    extractor = FeatureExtractor(given.backbone, weights=given.weights, size=given.size)
    features, classes = torch.from_numpy(extractor.transform(paths)), torch.tensor(labels)
    print(f"{features.shape[0]:,} x {features.shape[1]}, {len(set(labels))} classes, {torch.get_num_threads()} threads")
    for n in given.n:
        compare([split(features, classes, n, seed) for seed in range(given.draws)], n)


def files(folder: Path, per_class: int) -> tuple[list[str], list[int]]:
    """Paths and class numbers, up to so many of each class, the first by name."""
    found = [
        (str(path), number)
        for number, name in enumerate(sorted(entry for entry in folder.iterdir() if entry.is_dir()))
        for path in sorted(name.iterdir())[:per_class]
    ]
    return [path for path, _ in found], [number for _, number in found]


def split(features: Tensor, labels: Tensor, n: int, seed: int) -> tuple[Part, Part, Part]:
    """Train, val and the rest, drawn at random."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    sizes = [n, max(50, n // 5)]
    train, val, test = torch.split(order, [*sizes, len(order) - sum(sizes)])
    return (features[train], labels[train]), (features[val], labels[val]), (features[test], labels[test])


def compare(draws: list[tuple[Part, Part, Part]], n: int) -> None:
    """Print seconds, chosen values and accuracy of each arm."""
    arms = {"climbing": climbing, "every value": every_value, "scikit-learn": scikit_learn}
    rows: dict[str, list[tuple[float, float, float]]] = {name: [] for name in arms}
    for train, val, test in draws:
        for name, arm in arms.items():
            started = time.process_time()
            C = arm(train, val)
            rows[name].append((time.process_time() - started, C, accuracy(C, train, test)))
    for name, drawn in rows.items():
        seconds, chosen, right = zip(*drawn, strict=True)
        faster = statistics.fmean(seconds) / statistics.fmean(row[0] for row in rows["climbing"])
        lost = [100 * (mine[2] - theirs) for mine, theirs in zip(rows["climbing"], right, strict=True)]
        print(
            f"n = {n}, {name}: {statistics.fmean(seconds):.2f} s ({faster:.1f} times climbing), C "
            f"{', '.join(f'{C:.1e}' for C in chosen)}; test {100 * statistics.fmean(right):.1f} %, "
            f"climbing {statistics.fmean(lost):+.2f} ({min(lost):+.2f} to {max(lost):+.2f})",
            flush=True,
        )


def climbing(train: Part, val: Part) -> float:
    return choice.choose_C(*train, *val, int(train[1].max()) + 1).C


def every_value(train: Part, val: Part) -> float:
    with patched(lambda *_: False):
        return climbing(train, val)


@contextmanager
def patched(is_past_the_best: Callable[..., bool]) -> Iterator[None]:
    """Another rule of when to stop climbing."""
    own, choice._is_past_the_best = choice._is_past_the_best, is_past_the_best
    try:
        yield
    finally:
        choice._is_past_the_best = own


def scikit_learn(train: Part, val: Part) -> float:
    """The most accurate of the coarse values, each from the last one's solution; ties go to the smaller C."""
    scaler = StandardScaler().fit(train[0].numpy())
    learnt, judged = (scaler.transform(part[0].numpy()).astype(np.float32) for part in (train, val))
    model = LogisticRegression(warm_start=True, max_iter=1000)
    scores = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for C in choice.COARSE:
            scores[C] = model.set_params(C=C).fit(learnt, train[1].numpy()).score(judged, val[1].numpy())
    return max(scores, key=lambda C: (scores[C], -C))


def accuracy(C: float, train: Part, test: Part) -> float:
    """Of a head fitted at C, on the images that neither fitted nor chose."""
    head = fit_linear(*train, int(train[1].max()) + 1, [C], scale=choice.standardising_scale(train[0])).head(0)
    return float((head.logits(test[0]).argmax(1) == test[1]).double().mean())


if __name__ == "__main__":
    main()
