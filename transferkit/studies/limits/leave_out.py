"""Leaving out classes of the run itself: would the model have noticed images of a class it never learnt?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from transferkit import ood
from transferkit.data.images import Images, SealedImages, Splits
from transferkit.features.fast_classifier import collect
from transferkit.metrics.bootstrap import percentile_interval
from transferkit.metrics.outputs import Outputs
from transferkit.metrics.roc import auroc
from transferkit.metrics.statistics import mean_and_sd
from transferkit.metrics.thresholds import threshold_at
from transferkit.models import backbones
from transferkit.models.linear import LinearHead, fit_probe
from transferkit.runtime import machine
from transferkit.runtime.console import SILENT, Console
from transferkit.runtime.context import Context
from transferkit.runtime.errors import TransferkitError
from transferkit.studies.limits.settings import LeaveOut
from transferkit.studies.limits.shares import bounds, share_of
from transferkit.studies.limits.subject import LimitsSubject, linear_head, rows
from transferkit.training import methods

SINGLY_UP_TO = 20  # classes held out one by one; of more, some random pairs
PAIRS = 10
TRAIN_IMAGES, TEST_IMAGES = 5_000, 3_000  # at most, so that ten refits take seconds
RESAMPLES = 1_000
FEWEST_CLASSES = 3  # two remain


@dataclass(frozen=True)
class Reduced:
    """Outputs of a model that does not know some classes: on known train, val and test images and on unknown ones."""

    train: Outputs
    val: Outputs
    test: Outputs
    unknown: Outputs
    head: LinearHead | None


def measure_leave_out(subject: LimitsSubject, how: LeaveOut, seed: int, console: Console) -> dict[str, Any]:
    """AUROC per held-out class, hardest first; `full` trains the network again, else only the head is fitted anew."""
    names = subject.test.class_names
    if how == "none":
        return {"reason": "not asked for (--leave-out none)"}
    if len(names) < FEWEST_CLASSES:
        return {"reason": f"needs at least {FEWEST_CLASSES} classes; the run has {len(names)}"}
    groups = held_out_groups(len(names), seed)
    C = None if how == "full" else chosen_C(subject, seed)
    detectors = tuple(dict.fromkeys((subject.limits.score, ood.SUMMARY_SCORE)))
    found = []
    with console.progress("leave classes out", len(groups), "refits") as progress:
        for group in groups:
            reduced = retrained(subject, group, seed) if C is None else refitted(subject, group, C, seed)
            found.append(_row([names[index] for index in group], reduced, detectors))
            progress.advance(1)
    return {
        "how": how_words(subject, how),
        "clean": how == "full" or _is_frozen(subject),
        **_summary(found, detectors, seed),
    }


def how_words(subject: LimitsSubject, how: LeaveOut) -> str:
    """What was done, and what it cannot show."""
    if how == "full":
        return "The whole network was trained again without each class; only its pretraining may have seen it."
    if _is_frozen(subject):
        return "The head was fitted again without each class; the frozen body has seen it in pretraining at most."
    return (
        "The head was fitted again without each class, but the body was trained with it, so these numbers are on the "
        "hopeful side; --leave-out full trains again."
    )


def _is_frozen(subject: LimitsSubject) -> bool:
    return subject.run.recipe.method.keeps_body


def held_out_groups(classes: int, seed: int) -> list[tuple[int, ...]]:
    """Every class alone, or ten random pairs where there are more than 20."""
    if classes <= SINGLY_UP_TO:
        return [(index,) for index in range(classes)]
    order = np.random.default_rng(seed).permutation(classes)[: 2 * PAIRS]
    return [(int(first), int(second)) for first, second in order.reshape(-1, 2)]


def chosen_C(subject: LimitsSubject, seed: int) -> float:
    """The penalty of the refitted heads, chosen once with all classes, on val or by cross-validation."""
    train = _stratified(subject.train, TRAIN_IMAGES, seed)
    val = subject.val if len(subject.val) >= 500 else rows(subject.val, np.zeros(0, np.int64))
    return fit_probe(*_tensors(train), *_tensors(val), len(train.class_names), seed=seed).C


def refitted(subject: LimitsSubject, group: Sequence[int], C: float, seed: int) -> Reduced:
    """A new head on the same features, fitted without the group."""
    train = without(_stratified(subject.train, TRAIN_IMAGES, seed), group)
    nothing = rows(train, np.zeros(0, np.int64))
    head = fit_probe(*_tensors(train), *_tensors(nothing), len(train.class_names), C=C, seed=seed).head
    head = LinearHead(head.weight.float(), head.bias.float())
    test = _stratified(subject.test, TEST_IMAGES, seed)
    unknown = as_unknown(only(subject.test, group), train.class_names)
    parts = (train, without(subject.val, group), without(test, group), unknown)
    seen, calibrating, known, other = (_under(head, part) for part in parts)
    return Reduced(seen, calibrating, known, other, head)


def retrained(subject: LimitsSubject, group: Sequence[int], seed: int) -> Reduced:
    """The run's recipe carried out again on images without the group."""
    recipe = subject.run.recipe
    parts = {name: images_without(images, group) for name, images in subject.images.items()}
    splits = Splits(parts["train"], parts["val"], SealedImages(parts["test"]))
    machine.seed_everything(recipe.seed)
    classifier = backbones.load(recipe.backbone, splits.class_names, recipe.input_px, SILENT)
    context = Context(subject.runtime, SILENT, recipe.seed)
    methods.fit(classifier, splits, recipe.method, recipe.backbone, context)
    members = subject.images["test"].subset(np.flatnonzero(np.isin(subject.images["test"].require_labels(), group)))
    unknown = replace(members, labels=None, class_names=splits.class_names)
    sets = (parts["train"], parts["val"], parts["test"], unknown)
    train, val, test, other = (collect(classifier, part, subject.runtime, SILENT, "") for part in sets)
    return Reduced(_stratified(train, TRAIN_IMAGES, seed), val, test, other, linear_head(classifier.head))


def _row(held_out: list[str], reduced: Reduced, detectors: Sequence[str]) -> dict[str, Any]:
    scores, off = ood.fit_all(detectors, reduced.train, reduced.val, reduced.head, ood.OodSettings())
    found: dict[str, Any] = {"held_out": held_out, "n": len(reduced.unknown), "scores": {}, "off": off}
    for name, score in scores.items():
        known, unknown = score(reduced.test), score(reduced.unknown)
        told = auroc(known, unknown)
        threshold = threshold_at(score(reduced.val)) if len(reduced.val) else None
        accepted = None if threshold is None else share_of(unknown <= threshold)
        found["scores"][name] = {"auroc": told.value, "auroc_interval": bounds(told.interval), "accepted": accepted}
    called = np.bincount(reduced.unknown.predictions, minlength=len(reduced.train.class_names))
    if len(reduced.unknown):
        most = int(called.argmax())
        found["called"] = {"name": reduced.train.class_names[most], "share": float(called[most] / called.sum())}
    return found


def _summary(found: list[dict[str, Any]], detectors: Sequence[str], seed: int) -> dict[str, Any]:
    """Classes by the AUROC of the last detector that ran, hardest first, and means over classes."""
    name = next((name for name in reversed(detectors) if all(name in row["scores"] for row in found)), detectors[0])
    known = [row for row in found if row["scores"].get(name, {}).get("auroc") is not None]
    if not known:
        raise TransferkitError("No held-out class has a test image, so that nothing can be measured by leaving out.")
    ranked = sorted(known, key=lambda row: float(row["scores"][name]["auroc"]))
    return {"score": name, "rows": ranked, "mean": {each: _mean(known, each, seed) for each in known[0]["scores"]}}


def _mean(found: Sequence[dict[str, Any]], name: str, seed: int) -> dict[str, Any]:
    """Mean and standard deviation over held-out classes, and a bootstrap interval that draws classes."""
    values = np.array([row["scores"][name]["auroc"] for row in found], dtype=np.float64)
    draws = np.random.default_rng(seed).choice(values, (RESAMPLES, len(values))).mean(axis=1)
    accepted = [row["scores"][name]["accepted"] for row in found]
    shares = [each["value"] for each in accepted if each]
    return {
        "auroc": float(values.mean()),
        "sd": mean_and_sd(values)[1] if len(values) > 1 else None,
        "interval": bounds(percentile_interval(draws)),
        "n": len(values),
        "accepted": float(np.mean(shares)) if shares else None,
    }


# ---- outputs without some classes ----


def without(outputs: Outputs, group: Sequence[int]) -> Outputs:
    """The images of the other classes, labels counted along the classes that are left."""
    left = [index for index in range(len(outputs.class_names)) if index not in group]
    kept = rows(outputs, ~np.isin(outputs.require_labels(), group))
    names = tuple(outputs.class_names[index] for index in left)
    labels = np.searchsorted(left, kept.require_labels()).astype(np.int64)
    return Outputs(kept.features, kept.logits[:, left], labels, kept.ids, names)


def only(outputs: Outputs, group: Sequence[int]) -> Outputs:
    """The images of the group."""
    return rows(outputs, np.isin(outputs.require_labels(), group))


def as_unknown(outputs: Outputs, class_names: tuple[str, ...]) -> Outputs:
    """The same features under other class names, among which they have no label."""
    logits = np.zeros((len(outputs), len(class_names)), np.float32)
    return Outputs(outputs.features, logits, None, outputs.ids, class_names)


def images_without(images: Images, group: Sequence[int]) -> Images:
    """The images of the other classes, labels counted along the classes that are left."""
    left = [index for index in range(len(images.class_names)) if index not in group]
    kept = images.subset(np.flatnonzero(~np.isin(images.require_labels(), group)))
    names = tuple(images.class_names[index] for index in left)
    return replace(kept, labels=np.searchsorted(left, kept.require_labels()).astype(np.int64), class_names=names)


def _under(head: LinearHead, outputs: Outputs) -> Outputs:
    logits: npt.NDArray[np.float32] = head.logits(torch.from_numpy(outputs.features)).numpy()
    return replace(outputs, logits=logits)


def _stratified(outputs: Outputs, limit: int, seed: int) -> Outputs:
    """At most `limit` rows, as many of each class as there are, up to an equal share."""
    if len(outputs) <= limit:
        return outputs
    generator = np.random.default_rng(seed)
    per_class = max(1, limit // len(outputs.class_names))
    orders = [
        generator.permutation(np.flatnonzero(outputs.require_labels() == label))
        for label in range(len(outputs.class_names))
    ]
    return rows(outputs, np.sort(np.concatenate([order[:per_class] for order in orders])))


def _tensors(outputs: Outputs) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(outputs.features), torch.from_numpy(outputs.require_labels())
