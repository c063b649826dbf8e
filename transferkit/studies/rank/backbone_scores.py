"""How well the frozen features of one backbone suit a task, and what they cost: cross-validated on training images."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from transferkit.data.groups import folds_of_all, group_numbers
from transferkit.data.images import Images, Labels, Pixels
from transferkit.features.engine import Engine
from transferkit.features.layer_network import LayerNetwork
from transferkit.features.layers import PENULTIMATE
from transferkit.features.stored import stored_features
from transferkit.metrics.history import FEWEST_TO_CHOOSE
from transferkit.models import backbones
from transferkit.models.classifier import Classifier
from transferkit.models.linear import fit_probe, knn_logits
from transferkit.models.receptive_fields import total_flops
from transferkit.recipe import BackboneSettings, Recipe
from transferkit.runtime.array_records import read_array_record, write_array_record
from transferkit.runtime.console import Console
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.machine import Runtime, seed_everything
from transferkit.runtime.plurals import counted
from transferkit.studies.rank.logme import logme
from transferkit.studies.rank.results import BackboneFacts

FOLDS = 5
NEIGHBOURS = 20
TIMED_SECONDS, TIMED_BATCHES = 1.0, 20  # throughput is measured until either is reached


@dataclass(frozen=True)
class ScoreSource:
    """What decides a backbone's answers.

    Attributes:
        images: Their fingerprint.
        weights_stamp: Of the file of weights, see `features.networks.stamp`.
        recipe: The resolved probe.
        precision: In which the network computed.
        groups: What each image belongs to; None where every image stands for itself.
    """

    images: str
    weights_stamp: tuple[int, ...]
    recipe: Any
    precision: str
    groups: tuple[str, ...] | None = None


@dataclass(frozen=True)
class ProbedBackbone:
    """What one backbone's features answered, and what it costs.

    Attributes:
        probe: (N,) the class that a linear probe gives to each image, fitted on the other folds.
        knn: (N,) the same by the nearest images of the other folds.
        facts: Everything else.
        made_of: What decides all of it; None before it is stored, and in files of earlier versions.
    """

    probe: Labels
    knn: Labels
    facts: BackboneFacts
    made_of: ScoreSource | None = None

    def save(self, path: Path) -> None:
        """Write it to a .safetensors file, atomically."""
        write_array_record(path, self)

    @classmethod
    def load(cls, path: Path) -> ProbedBackbone:
        """Read it again.

        Raises:
            TransferkitError: If the file is missing, damaged or something else.
        """
        return read_array_record(path, cls, "answers of a backbone")


def sample(images: Images, most: int, seed: int) -> Images:
    """At most so many images, class by class: every class keeps its share, at least two images, in random order.

    Smaller samples are subsets of larger ones.

    Raises:
        TransferkitError: If that is too few to cross-validate.
    """
    classes = len(images.class_names)
    needed = max(2 * classes, 2 * FOLDS)
    if min(most, len(images)) < needed:
        mend = "--images" if len(images) >= needed else "more training images; there are"
        raise TransferkitError(
            f"Cannot rank backbones on {counted(min(most, len(images)), 'image')} of "
            f"{counted(classes, 'class', 'classes')}: {FOLDS}-fold "
            f"cross-validation needs two images of each class and {2 * FOLDS} in all. "
            + (f"Use {mend} {needed} or more." if len(images) >= needed else f"Add {mend} {len(images)}.")
        )
    order = np.random.default_rng(seed).permutation(len(images))
    order = order[np.argsort(images.require_labels()[order], kind="stable")]
    counts = np.bincount(images.require_labels(), minlength=classes)
    labels = images.require_labels()[order]
    position = np.arange(len(order)) - (np.cumsum(counts) - counts)[labels]
    urgency = np.where(position < 2, -1.0, (position + 0.5) / counts[labels])
    chosen = np.sort(np.argsort(urgency, kind="stable")[:most])
    return images.subset(order[chosen])


def score(recipe: Recipe, images: Images, runtime: Runtime, console: Console) -> ProbedBackbone:
    """Probe, neighbours, LogME and costs of one backbone.

    Args:
        recipe: A resolved probe.
        images: As `sample` gives them; their order decides the folds, so that every fold has all classes.
        runtime: Where features are computed.
        console: Shows progress.

    Raises:
        TransferkitError: If backbone or weights cannot be had; MachineError if a download fails.
    """
    started = time.perf_counter()
    seed_everything(recipe.seed)  # random weights do not depend on what was done before
    classifier = backbones.load_for(recipe.backbone, images, recipe.input_px, console)
    classifier.eval()
    title = f"features of {recipe.backbone.name}"
    features = torch.from_numpy(np.asarray(stored_features(classifier, images, runtime, console, title)))
    labels = torch.from_numpy(images.require_labels())
    fold = fold_of_each(images, recipe.seed)
    groups = None if images.groups is None else torch.from_numpy(group_numbers(images.groups)).to(runtime.device)
    known = features.to(runtime.device), labels.to(runtime.device)
    folds = list(cross_validate(*known, recipe.seed, torch.from_numpy(fold).to(runtime.device), groups))
    facts = BackboneFacts(
        name=recipe.backbone.name,
        weights=classifier.weights,
        size=recipe.input_px,
        width=classifier.num_features,
        logme=logme(features, labels),
        top1=published_top1(recipe.backbone),
        flops=total_flops(classifier.body, recipe.input_px),
        parameters=sum(parameter.numel() for parameter in classifier.body.parameters()),
        images_per_second=images_per_second(classifier, images, runtime, console),
        C=tuple(fold.C for fold in folds),
        neighbours=min(fold.neighbours for fold in folds),
        converged=all(fold.converged for fold in folds),
        seconds=round(time.perf_counter() - started, 3),
    )
    return ProbedBackbone(gathered([f.probe for f in folds], fold), gathered([f.knn for f in folds], fold), facts)


# ----------------------------------------------------------------------------------------------- cross-validation


@dataclass(frozen=True)
class FoldAnswers:
    """The answers to the images of one fold, by what was learnt from the others."""

    probe: Tensor
    knn: Tensor
    C: float
    neighbours: int
    converged: bool


def folds_learnt(images: int) -> int:
    """From how many folds a probe learns: all others, but for one where a fold has enough images to choose C on."""
    return FOLDS - 2 if images // FOLDS >= FEWEST_TO_CHOOSE else FOLDS - 1


def fold_of_each(images: Images, seed: int) -> Labels:
    """(N,) the fold that answers each image: image i's is i modulo FOLDS; of images with groups, their group's.

    Raises:
        TransferkitError: If there are fewer groups than folds.
    """
    if images.groups is None:
        return np.arange(len(images)) % FOLDS
    groups = len(set(images.groups))
    if groups < FOLDS:
        raise TransferkitError(
            f"Cannot rank backbones on images of {counted(groups, 'group')}: {FOLDS}-fold "
            "cross-validation of whole groups needs "
            f"{FOLDS} or more. Add groups, or leave --group out if images of one group tell nothing about each other."
        )
    return folds_of_all(images.require_labels(), images.groups, FOLDS, seed)


def cross_validate(
    features: Tensor, labels: Tensor, seed: int, fold: Tensor | None = None, groups: Tensor | None = None
) -> Iterator[FoldAnswers]:
    """Every fold in turn; C is chosen without the fold that is answered, on the next one or by folds of the rest.

    Args:
        features: (N, D).
        labels: (N,).
        seed: Shuffles the folds by which C is chosen.
        fold: (N,) as `fold_of_each` gives it; None: image i's is i modulo FOLDS.
        groups: (N,) int64, whole groups of which choose C; None: images are their own.
    """
    fold = torch.arange(len(labels), device=labels.device) % FOLDS if fold is None else fold
    classes = int(labels.max()) + 1
    for number in range(FOLDS):
        held = fold == number
        chooses = fold == (number + 1) % FOLDS
        chooses &= folds_learnt(len(labels)) < FOLDS - 1
        learns = ~held & ~chooses
        together = None if groups is None else groups[learns]
        judges = features[chooses], labels[chooses]
        fit = fit_probe(features[learns], labels[learns], *judges, classes, seed=seed, groups=together)
        k = min(NEIGHBOURS, int((~held).sum()))
        votes = knn_logits(features[~held], labels[~held], features[held], classes, k)
        yield FoldAnswers(fit.head.logits(features[held]).argmax(1), votes.argmax(1), fit.C, k, fit.converged)


def gathered(answers: list[Tensor], fold: Labels | None = None) -> Labels:
    """The answers to all images, in their order, from those of the folds, as `cross_validate` takes them."""
    everyone = np.empty(sum(map(len, answers)), np.int64)
    fold = np.arange(len(everyone)) % FOLDS if fold is None else fold
    for number, some in enumerate(answers):
        everyone[fold == number] = some.cpu().numpy()
    return everyone


# ---------------------------------------------------------------------------------------------------------- costs


def published_top1(backbone: BackboneSettings) -> float | None:
    """ImageNet top-1 accuracy that the publisher of these very weights states; None for all others."""
    return backbones.card(backbone.name).top1 if backbone.weights == "imagenet" else None


def images_per_second(classifier: Classifier, images: Images, runtime: Runtime, console: Console) -> float:
    """Measured throughput of feature extraction from uint8 images in memory, uncompiled: the fastest batch of a second.

    The fastest, because what else the machine does can only slow a batch down.
    """
    network = LayerNetwork(classifier, [PENULTIMATE], "avg", runtime, replace(console, quiet=True))
    engine = Engine(network, console, compile="off")
    pixels = images.take(slice(0, engine.batch_size()))
    _seconds(engine, pixels)  # the first batch pays for what every process pays once
    measured = [_seconds(engine, pixels)]
    while sum(measured) < TIMED_SECONDS and len(measured) < TIMED_BATCHES:
        measured.append(_seconds(engine, pixels))
    return len(pixels) / min(measured)


def _seconds(engine: Engine, pixels: Pixels) -> float:
    started = time.perf_counter()
    engine.arrays(pixels)
    return time.perf_counter() - started
