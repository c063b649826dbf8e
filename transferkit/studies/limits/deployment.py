"""Unlabelled images from where the model is to be used: do they look like those it learnt from?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from transferkit.metrics.outputs import Outputs
from transferkit.studies.limits.distribution_shift import ShiftReport, atc, doc
from transferkit.studies.limits.image_sets import ImageSet
from transferkit.studies.limits.out_of_distribution import accepted_of
from transferkit.studies.limits.shares import Share, share_of
from transferkit.studies.limits.subject import LimitsSubject

Floats = npt.NDArray[np.float64]

COMPARED = 500  # images of each kind in the two-sample test
PERMUTATIONS = 999


@dataclass(frozen=True)
class DeploymentImages:
    """Images from the field, what the network says about them, and the seed of samples of them."""

    image_set: ImageSet
    outputs: Outputs
    seed: int


@dataclass(frozen=True)
class ClassShare:
    """How often a class is answered, beside its share of the train images."""

    name: str
    called: float
    train: float


@dataclass(frozen=True)
class DeploymentReport:
    """What images from the field show.

    Attributes:
        rejected: By the shipped threshold, None without one; `own_rejected` of the run's test images.
        p: Of the test that their features come from the same distribution as those of the test images.
        atc: Accuracy as estimated without labels; likewise `doc`.
        estimate_words: How far to believe these.
        classes: Those first whose share differs most from train.
    """

    source: str
    n: int
    notes: tuple[str, ...]
    native_px: int
    rejected: Share | None
    own_rejected: Share | None
    p: float
    test_words: str
    atc: float
    doc: float
    estimate_words: str
    classes: tuple[ClassShare, ...]


def measure_deployment(
    field: DeploymentImages, subject: LimitsSubject, shifts: Sequence[ShiftReport]
) -> DeploymentReport:
    """What is rejected, what is called what, whether the images differ, and estimates of the accuracy."""
    image_set, outputs, seed = field.image_set, field.outputs, field.seed
    accepted, _ = accepted_of(subject, outputs)
    own_accepted, _ = accepted_of(subject, subject.test)
    p = two_sample_p(subject.test.features, outputs.features, seed)
    has_threshold = bool(subject.limits.percentiles)
    return DeploymentReport(
        source=image_set.source,
        n=len(outputs),
        notes=image_set.notes,
        native_px=image_set.native_px,
        rejected=share_of(~accepted, outputs.groups) if has_threshold else None,
        own_rejected=share_of(~own_accepted, subject.test.groups) if has_threshold else None,
        p=p,
        test_words=test_words(p),
        atc=atc(subject.val, outputs),
        doc=doc(subject.val, outputs),
        estimate_words=estimate_words(shifts),
        classes=tuple(classes(outputs, subject)),
    )


def classes(outputs: Outputs, subject: LimitsSubject) -> list[ClassShare]:
    """How often each class is answered, beside its share of the train images."""
    called = np.bincount(outputs.predictions, minlength=len(outputs.class_names)) / max(len(outputs), 1)
    train = np.bincount(subject.train.require_labels(), minlength=len(outputs.class_names)) / max(len(subject.train), 1)
    rows = [
        ClassShare(name, float(share), float(before))
        for name, share, before in zip(outputs.class_names, called, train, strict=True)
    ]
    return sorted(rows, key=lambda row: -abs(row.called - row.train))


def test_words(p: float) -> str:
    """The two-sample test in words."""
    if p < 0.05:
        return f"Their features differ from those of its test images (energy test, p = {p:.3f})."
    return f"No difference from its test images was shown (energy test, p = {p:.2f})."


def estimate_words(shifts: Sequence[ShiftReport]) -> str:
    """How wrong the estimates were where the truth is known."""
    if not shifts:
        return "How far to believe them is unknown: no labelled shift was tested (--shift)."
    worst = max(abs(estimate - row.accuracy.value) for row in shifts for estimate in (row.atc, row.doc))
    return f"On the labelled sets above they were wrong by up to {100 * worst:.0f} points."


def two_sample_p(first: npt.NDArray[np.float32], second: npt.NDArray[np.float32], seed: int) -> float:
    """The p-value of the energy test that both sets of features come from one distribution.

    Szekely and Rizzo 2013, J. Stat. Plan. Inference 143, by permutations, on up to 500 images of each.
    """
    generator = np.random.default_rng(seed)
    parts = [part[generator.permutation(len(part))[:COMPARED]] for part in (first, second)]
    rows = torch.from_numpy(np.concatenate(parts)).double()
    distances = torch.cdist(rows, rows)
    size, n = len(parts[0]), len(rows)
    signs = torch.zeros(PERMUTATIONS + 1, n, dtype=torch.float64)
    for row in range(PERMUTATIONS + 1):
        order = torch.arange(n) if row == 0 else torch.from_numpy(generator.permutation(n))
        signs[row, order[:size]] = 1 / size
        signs[row, order[size:]] = -1 / (n - size)
    energies = -((signs @ distances) * signs).sum(1)  # 2 E|x - y| - E|x - x'| - E|y - y'|
    return float((energies >= energies[0] - 1e-12).double().mean())
