"""How often `transferkit rank` calls two equally good backbones different, from cross-validated answers.

Two sets of features are drawn anew for each repeat from one distribution, so neither is better. Folds share training
images: with the variance of independent images (dependence 1) more than 5 % of the pairs are called different at the
level of 5 %. The package takes the variance of Nadeau and Bengio (2003), which is wider. The probes are fitted here for
many pairs at once; the first is fitted by the package too, and must give the same answers but for rounding.

    python benchmarks/rank_false_claims.py
"""

from __future__ import annotations

import argparse
import time

import torch
from torch import Tensor

from transferkit.metrics.statistics import cross_validation_dependence, paired_difference, wilson
from transferkit.models.linear import fit_probe
from transferkit.studies.rank.backbone_scores import FOLDS

CLASSES, C, LEVEL = 3, 0.1, 0.05
SETTINGS = (  # images, features, distance of the class means
    (60, 100, 0.15),
    (150, 20, 0.35),
    (600, 60, 0.2),
    (600, 300, 0.12),
    (2000, 60, 0.2),
)
STEPS, STEEPEST = 1000, 1e-3  # at most, and the largest entry of the gradient where they end
AT_ONCE = 2**23  # features held at once
ROUNDED = 0.005  # of the images may be answered otherwise by the package, on the border between two classes


def drawn(images: int, width: int, distance: float, seeds: range) -> tuple[Tensor, Tensor]:
    """(P, 2, N, D) features of so many pairs, and (N,) their labels."""
    labels = torch.arange(images) % CLASSES
    means = distance * torch.randn(CLASSES, width, generator=torch.Generator().manual_seed(99))
    noise = [torch.randn(2, images, width, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return means[labels] + torch.stack(noise), labels


def is_right(features: Tensor, labels: Tensor) -> Tensor:
    """(...) of (..., N, D): whether the probe of the other folds answers each image rightly."""
    right = torch.empty(features.shape[:-1], dtype=torch.bool)
    for fold in range(FOLDS):
        held = torch.arange(len(labels)) % FOLDS == fold
        logits = probed(features[..., ~held, :], labels[~held], features[..., held, :])
        right[..., held] = logits.argmax(-1) == labels[held]
    return right


def probed(learnt: Tensor, labels: Tensor, asked: Tensor) -> Tensor:
    """(..., M, classes) logits of logistic regressions on standardised features, many at once.

    Newton's steps with a bound of the curvature in its place (Boehning, Ann. Inst. Stat. Math. 44 (1992) 197), made
    longer as the change of the gradient allows (Barzilai and Borwein, IMA J. Numer. Anal. 8 (1988) 141), until the
    gradient is nearly zero.

    Raises:
        AssertionError: If it is not so after many steps.
    """
    scale = learnt.std(-2, correction=0, keepdim=True)
    x = torch.nn.functional.pad(learnt / scale, (0, 1), value=1.0)  # (..., N, D + 1), the last for the intercept
    penalty = torch.ones(x.shape[-1])
    penalty[-1] = 1e-6
    factor = torch.linalg.cholesky(C / 2 * x.mT @ x + penalty.diag())
    truth = torch.nn.functional.one_hot(labels, CLASSES).float()
    weights, before, step, length = torch.zeros(*x.shape[:-2], x.shape[-1], CLASSES), None, None, torch.tensor(1.0)
    for _ in range(STEPS):
        gradient = C * x.mT @ ((x @ weights).softmax(-1) - truth) + penalty[:, None] * weights
        if gradient.abs().max() < STEEPEST:
            return torch.nn.functional.pad(asked / scale, (0, 1), value=1.0) @ weights
        if before is not None and step is not None:
            bent = (step * (gradient - before)).sum((-2, -1), keepdim=True)
            length = -length * (step * before).sum((-2, -1), keepdim=True) / bent.clamp(min=1e-12)
        before, step = gradient, -length * torch.cholesky_solve(gradient, factor)
        weights = weights + step
    raise AssertionError(f"A gradient of {gradient.abs().max():.1e} is left after {STEPS} steps")


def is_right_by_the_package(features: Tensor, labels: Tensor) -> Tensor:
    """(N,) of (N, D), by `fit_probe`."""
    right = torch.empty(len(labels), dtype=torch.bool)
    for fold in range(FOLDS):
        held = torch.arange(len(labels)) % FOLDS == fold
        none = features[:0], labels[:0]
        fit = fit_probe(features[~held], labels[~held], *none, CLASSES, C=C)
        right[held] = fit.head.logits(features[held]).argmax(1) == labels[held]
    return right


def answers(images: int, width: int, distance: float, count: int) -> Tensor:
    """(count, 2, N) whether the probes of each pair are right.

    Raises:
        AssertionError: If the package would answer otherwise.
    """
    block = max(1, AT_ONCE // (2 * images * width))
    found = []
    for start in range(0, count, block):
        features, labels = drawn(images, width, distance, range(start, min(start + block, count)))
        found.append(is_right(features, labels))
        if start == 0:
            other = is_right_by_the_package(features[0, 0], labels) != found[0][0, 0]
            assert other.float().mean() <= ROUNDED, f"{int(other.sum())} of {images} answers differ"
    return torch.cat(found)


def is_claimed(pair: Tensor, dependence: float) -> bool:
    """Whether the two are called different."""
    a, b = pair.numpy()[:, None]
    return paired_difference(a, b, "images", dependence=dependence).p <= LEVEL


def main() -> None:
    """Print three lines per setting."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=2000)
    count = parser.parse_args().pairs
    for images, width, distance in SETTINGS:
        started = time.perf_counter()
        found = answers(images, width, distance, count)
        accuracy, seconds = 100 * found.float().mean(), time.perf_counter() - started
        print(f"{images} images, {width} features: accuracy {accuracy:.0f} %, {count:,} pairs, {seconds:.0f} s")
        for dependence in (1.0, cross_validation_dependence(FOLDS, learnt=FOLDS - 1, held=1)):
            claimed = sum(is_claimed(pair, dependence) for pair in found)
            low, high = (100 * bound for bound in vars(wilson(claimed, count)).values())
            share = f"{100 * claimed / count:5.2f} % called different (95 % interval {low:.1f} to {high:.1f})"
            print(f"  variance x {dependence:<5} {share}", flush=True)


if __name__ == "__main__":
    main()
