"""The run under test: its network, its own images again, and what it says about any images, asked only once."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from transferkit.data.groups import group_ranks, held_out
from transferkit.data.images import Images
from transferkit.data.reading import Reading, reading_of
from transferkit.features.stored_answers import StoredAnswers
from transferkit.metrics.outputs import Outputs
from transferkit.models.classifier import Classifier
from transferkit.models.linear import LinearHead
from transferkit.ood import rejection
from transferkit.ood.rejection import Rejection
from transferkit.runs.own_images import same_images as same_images
from transferkit.runs.own_images import why_no_val as why_no_val
from transferkit.runs.run_directory import Run
from transferkit.runs.stored_classifier import load_classifier
from transferkit.runtime import machine
from transferkit.runtime.console import Console
from transferkit.studies.limits.image_sets import sample
from transferkit.studies.limits.settings import HALVED


@dataclass(frozen=True)
class OwnParts:
    """The run's images by part; of train perhaps a sample."""

    train: Images
    val: Images
    test: Images

    @property
    def all(self) -> tuple[Images, Images, Images]:
        """Train, val and test."""
        return self.train, self.val, self.test


@dataclass(frozen=True)
class LimitsSubject:
    """A finished run, opened for tests.

    Attributes:
        run: The folder.
        classifier: In eval mode, on the device.
        runtime: Where it computes.
        images: As the run's recipe loads them.
        learnt: Digests of all train images, those outside the sample too; with val where the network learnt from it.
        train: Outputs on train, in eval mode, without augmentation.
        val: Outputs of a classifier that has not learnt from val; half of test where the run has no val.
        test: Outputs on test; the other half where there was no val.
        limits: The thresholds that the run ships, or that val gives now.
        notes: Lines that the report must show.
        store: Asks the network, about each image once.
    """

    run: Run
    classifier: Classifier
    runtime: machine.Runtime
    images: OwnParts
    learnt: frozenset[bytes]
    train: Outputs
    val: Outputs
    test: Outputs
    limits: Rejection
    notes: tuple[str, ...]
    store: StoredAnswers

    @property
    def side_px(self) -> int:
        """Side of the run's own images, to which all others are brought."""
        return int(min(self.images.test.size_px))

    @property
    def fit(self) -> Reading:
        """How files are read: as those of the run were; where those were square images, by their middle."""
        data = self.run.recipe.data
        reading = reading_of(data) if hasattr(data, "fit") else Reading("crop")
        return replace(reading, channels=self.bands)

    @property
    def bands(self) -> int:
        """How many bands the run's images have."""
        return self.images.test.bands

    @property
    def head(self) -> LinearHead | None:
        """The last layer, where it is linear."""
        return linear_head(self.classifier.head)


def linear_head(head: nn.Module) -> LinearHead | None:
    """Weight and bias of a linear layer in float32; None for any other module."""
    if not isinstance(head, nn.Linear):
        return None
    weight = head.weight.detach().float().cpu()
    bias = torch.zeros(len(weight)) if head.bias is None else head.bias.detach().float().cpu()
    return LinearHead(weight, bias)


def open_subject(run: Run, train_images: int, seed: int, device: str, console: Console) -> LimitsSubject:
    """The run's network and images; outputs of train are computed, those of val and test are the stored ones.

    Raises:
        TransferkitError: If the images are no longer those that the run was made with.
    """
    splits = same_images(run, console)
    runtime = machine.start(device, run.precision, run.recipe.threads)
    classifier = load_classifier(run).to(runtime.device).eval()
    store = StoredAnswers(classifier, runtime, console)
    notes = [*runtime.notes]
    train_part = sample(splits.train, train_images, seed)
    if len(train_part) < len(splits.train):
        some = f"{len(train_part):,} of {len(splits.train):,} (seed {seed})"
        notes.append(f"detectors that need train images, and the search for near copies of them, use {some}")
    images = OwnParts(train_part, splits.val, splits.test.open())
    train = store.outputs(train_part, "train images")
    test = run.outputs("test")
    lacks_val = why_no_val(run, splits)
    if not lacks_val:
        val = run.outputs("val")
    else:
        val, test, note = halves(test, seed, lacks_val)
        position = {name: index for index, name in enumerate(images.test.ids)}
        first, second = (images.test.subset([position[name] for name in half.ids]) for half in (val, test))
        images = OwnParts(train_part, first, second)
        notes.append(note)
    shipped = rejection.shipped(run.model.rejection, run.stored_outputs)
    if shipped is None or not shipped.n:
        notes.append("the run has no val images, so that `predict` never answers unknown; the threshold here does")
        shipped = rejection.fit(val, shipped.bank if shipped else None)
    if shipped.score_words:
        notes.append(shipped.score_words)
    learnt_parts = [splits.train, splits.val] if lacks_val else [splits.train]
    learnt = frozenset(digest.tobytes() for part in learnt_parts for digest in part.digests)
    return LimitsSubject(run, classifier, runtime, images, learnt, train, val, test, shipped, tuple(notes), store)


def halves(test: Outputs, seed: int, why: str) -> tuple[Outputs, Outputs, str]:
    """Test split into two stratified halves, the first to set thresholds with; and the line that says so.

    Where images have groups, a group is in one half as a whole.
    """
    generator = np.random.default_rng(seed)
    if test.groups:
        first = held_out(test.require_labels(), group_ranks(test.groups, generator), 0.5)
        note = f"{why}: {HALVED} (whole groups, stratified, seed {seed})"
        return rows(test, first), rows(test, ~first), note
    first = np.zeros(len(test), dtype=bool)
    for label in range(len(test.class_names)):
        order = generator.permutation(np.flatnonzero(test.require_labels() == label))
        first[order[: len(order) // 2]] = True
    note = f"{why}: {HALVED} (stratified, seed {seed})"
    return rows(test, first), rows(test, ~first), note


def rows(outputs: Outputs, chosen: np.ndarray) -> Outputs:
    """Some of the images, by index or by mask."""
    indices = np.flatnonzero(chosen) if chosen.dtype == bool else chosen
    ids = tuple(outputs.ids[index] for index in indices)
    labels = None if outputs.labels is None else outputs.labels[indices]
    groups = outputs.groups and tuple(outputs.groups[index] for index in indices)
    return Outputs(outputs.features[indices], outputs.logits[indices], labels, ids, outputs.class_names, groups)
