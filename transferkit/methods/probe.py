"""Linear probe: one convex problem on the features of a frozen backbone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from transferkit.classifier import Classifier
from transferkit.images import Images, Splits
from transferkit.methods.fitted import Fitted
from transferkit.methods.table import show_groups
from transferkit.outputs import Outputs, collect
from transferkit.recipe import ProbeSettings
from transferkit.runtime import Runtime
from transferkit.screen import Screen
from transferkit.solvers import LinearHead, ProbeFit, fit_probe
from transferkit.training import ParameterGroup

ENOUGH_TO_CHOOSE = 500  # val images; with fewer, accuracies on val differ by chance more than by C


def fit(
    classifier: Classifier,
    splits: Splits,
    settings: ProbeSettings,
    runtime: Runtime,
    screen: Screen,
    seed: int,
) -> Fitted:
    """Give the classifier a linear head fitted on train and val; its body stays as it is.

    C is chosen on val by a head that saw train alone; that head's outputs on val are the ones given back.
    """
    classifier.to(runtime.device)
    classifier.freeze(list(classifier.stages))
    groups = _groups(classifier)
    show_groups(groups, screen)
    with classifier.frozen_verified():
        train = features_of(classifier, splits.train, settings.batch_size, runtime, screen, "features of train")
        val = features_of(classifier, splits.val, settings.batch_size, runtime, screen, "features of val")
    chosen = solve(train, val, settings, seed, runtime)
    given = settings.model_copy(update={"C": chosen.C})
    honest, final = chosen, chosen  # what `solve` fitted is one of the two
    if is_enough_to_choose(val):
        honest = solve(train, None, given, seed, runtime)
    else:
        final = solve(joined(train, val), None, given, seed, runtime)
    classifier.set_head(final.head.weight, final.head.bias)
    _tell(chosen, screen)
    return Fitted(_with_head(val, honest.head), groups, facts={"probe": probe_facts(chosen)})


def start_head(
    classifier: Classifier,
    splits: Splits,
    runtime: Runtime,
    screen: Screen,
    seed: int,
) -> ProbeFit:
    """Give the classifier the head of a probe fitted on train alone, for fine-tuning to start from (LP-FT).

    Kumar et al. 2022 (arXiv:2202.10054), section 3.4.
    """
    classifier.to(runtime.device)
    train = features_of(classifier, splits.train, 256, runtime, screen, "features of train")
    val = features_of(classifier, splits.val, 256, runtime, screen, "features of val")
    probe = ProbeSettings(name="probe")
    chosen = solve(train, val, probe, seed, runtime)
    given = probe.model_copy(update={"C": chosen.C})
    start = solve(train, None, given, seed, runtime) if is_enough_to_choose(val) else chosen
    classifier.set_head(start.head.weight, start.head.bias)
    _tell(chosen, screen)
    return chosen


def features_of(
    classifier: Classifier, images: Images, batch_size: int, runtime: Runtime, screen: Screen, title: str
) -> Outputs:
    """Outputs of the images, or empty ones where there are no images."""
    if len(images):
        return collect(classifier, images, runtime, screen, title, batch_size)
    nothing = np.zeros((0, classifier.num_features), np.float32)
    logits = np.zeros((0, len(classifier.class_names)), np.float32)
    return Outputs(nothing, logits, images.labels, images.ids, images.class_names)


def solve(train: Outputs, val: Outputs | None, settings: ProbeSettings, seed: int, runtime: Runtime) -> ProbeFit:
    """The probe's head from stored features.

    C is chosen on val and the head fitted on train and val; where val is small, on train alone, C by cross-validation.
    """
    rest = val if val is not None and is_enough_to_choose(val) else _none_of(train)
    arrays = (train.features, train.labels, rest.features, rest.labels)
    train_features, train_labels, val_features, val_labels = (
        torch.from_numpy(array).to(runtime.device) for array in arrays
    )
    return fit_probe(
        train_features,
        train_labels,
        val_features,
        val_labels,
        len(train.class_names),
        sweep=settings.sweep,
        C=settings.C,
        class_weight=settings.class_weight,
        seed=seed,
    )


def is_enough_to_choose(val: Outputs) -> bool:
    """Whether C is chosen on val."""
    return len(val) >= ENOUGH_TO_CHOOSE


def probe_facts(probe: ProbeFit) -> dict[str, Any]:
    """What the report shows of a probe."""
    accuracies = list(probe.validation_accuracy)
    return {
        "C": probe.C,
        "grid": list(probe.grid),
        "validation_accuracy": accuracies,
        "on_boundary": probe.on_boundary,
        "chosen_by": probe.chosen_by,
        "converged": probe.converged,
    }


def _tell(probe: ProbeFit, screen: Screen) -> None:
    accuracy = f", accuracy {100 * max(probe.validation_accuracy):.1f} %" if probe.validation_accuracy else ""
    screen.line(f"probe: C = {probe.C:.3g}, chosen by {probe.chosen_by}{accuracy}")
    if probe.on_boundary:
        screen.line("probe: the best C lies on the boundary of the grid; set method.C or method.sweep=full.")
    if not probe.converged:
        screen.line("probe: the solver stopped before it converged; the head may be improvable.")


def joined(first: Outputs, second: Outputs) -> Outputs:
    """The outputs of both image sets, one after the other."""
    return Outputs(
        np.concatenate([first.features, second.features]),
        np.concatenate([first.logits, second.logits]),
        np.concatenate([first.labels, second.labels]),
        first.ids + second.ids,
        first.class_names,
    )


def _none_of(outputs: Outputs) -> Outputs:
    return replace(outputs, features=outputs.features[:0], logits=outputs.logits[:0], labels=outputs.labels[:0], ids=())


def _with_head(outputs: Outputs, head: LinearHead) -> Outputs | None:
    """The same features under another head; None where there are no images."""
    if not len(outputs):
        return None
    device = head.weight.device
    logits = head.logits(torch.from_numpy(outputs.features).to(device)).float().cpu().numpy()
    return replace(outputs, logits=logits)


def _groups(classifier: Classifier) -> list[ParameterGroup]:
    """All stages frozen, and the head solved."""

    def count(stage: str) -> int:
        return sum(value.numel() for value in classifier.stage_parameters(stage).values())

    frozen = [ParameterGroup(stage, count(stage), 0.0, 0.0, "eval") for stage in classifier.stages]
    return [*frozen, ParameterGroup("head", count("head"), 0.0, 0.0, "-", is_solved=True)]
