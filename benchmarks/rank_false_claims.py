"""How often `transferkit rank` calls two equally good backbones different, by McNemar on cross-validated answers.

Two sets of features are drawn anew for each repeat from one distribution, so neither is better. Folds share training
images, which the test does not know; so more than 5 % of the pairs are called different at the level of 5 %.

    python benchmarks/rank_false_claims.py

2026-11-22, torch 2.15: 7.3 % of 300 pairs (95 % interval 4.9 to 10.9; 150 images, 20 features), 10.0 % of 120 pairs
(5.8 to 16.7; 600 images, 60 features).
"""

from __future__ import annotations

import torch
from torch import Tensor

from transferkit.solvers import fit_probe
from transferkit.statistics import mcnemar_mid_p, wilson
from transferkit.studies.backbone_scores import FOLDS

CLASSES, C, LEVEL = 3, 0.1, 0.05
SETTINGS = ((150, 20, 0.35, 300), (600, 60, 0.2, 120))  # images, features, distance of the class means, repeats


def is_right(features: Tensor, labels: Tensor) -> Tensor:
    """(N,) whether the probe of the other folds answers each image rightly."""
    right = torch.empty(len(labels), dtype=torch.bool)
    for fold in range(FOLDS):
        held = torch.arange(len(labels)) % FOLDS == fold
        none = features[:0], labels[:0]
        fit = fit_probe(features[~held], labels[~held], *none, CLASSES, C=C)
        right[held] = fit.head.logits(features[held]).argmax(1) == labels[held]
    return right


def is_claimed(images: int, width: int, distance: float, seed: int) -> bool:
    """Whether two draws of the same kind of features are called different."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(images) % CLASSES
    means = distance * torch.randn(CLASSES, width, generator=torch.Generator().manual_seed(99))
    a, b = (is_right(means[labels] + torch.randn(images, width, generator=generator), labels) for _ in range(2))
    return mcnemar_mid_p(int((a & ~b).sum()), int((~a & b).sum())) <= LEVEL


def main() -> None:
    """Print one line per setting."""
    for images, width, distance, repeats in SETTINGS:
        claimed = sum(is_claimed(images, width, distance, seed) for seed in range(repeats))
        interval = wilson(claimed, repeats)
        print(
            f"{images} images, {width} features: {100 * claimed / repeats:.1f} % of {repeats} pairs called different "
            f"(95 % interval {100 * interval.low:.1f} to {100 * interval.high:.1f})"
        )


if __name__ == "__main__":
    main()
