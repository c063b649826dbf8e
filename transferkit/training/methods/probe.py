"""Probe: a frozen backbone, and a classifier on its features that is solved, not trained by steps."""

from __future__ import annotations

from transferkit.data.images import Images, Splits
from transferkit.features.cached_outputs import under_head
from transferkit.features.engine import BatchSize
from transferkit.features.stored import stored_features
from transferkit.metrics.outputs import Outputs
from transferkit.metrics.results import OtherResults
from transferkit.metrics.thresholds import FEWEST_TO_REJECT
from transferkit.models.classifier import Classifier
from transferkit.models.linear import require_neighbours
from transferkit.models.pooled_stages import read_last_stages, stages_read
from transferkit.recipe import BackboneSettings, ProbeSettings
from transferkit.runtime.array_types import Features
from transferkit.runtime.context import Context
from transferkit.training import ParameterGroup
from transferkit.training.methods import layer_probes, probe_heads, stage_choice
from transferkit.training.methods.cross_validation import cross_validated
from transferkit.training.methods.fitted import Fitted
from transferkit.training.methods.probe_heads import LabelledFeatures, Solved
from transferkit.training.methods.table import show_groups


def require(classifier: Classifier, settings: ProbeSettings, train_images: int, _val_images: int) -> None:
    """Refuse layers that are not there, and more neighbours than training images."""
    if settings.layers:
        layer_probes.probed_layers(classifier, settings.layers)
    if settings.last_stages != "auto":
        stages_read(classifier, settings.last_stages)
    if settings.k is not None:
        require_neighbours(settings.k, train_images)


def fit(
    classifier: Classifier, splits: Splits, settings: ProbeSettings, backbone: BackboneSettings, context: Context
) -> Fitted:
    """Give the classifier a head fitted on train and val; its body stays as it is.

    What is chosen is chosen on val by a head that saw train alone; that head's outputs on val are the ones given back.
    Probes of layers come first: their one pass also gives the features that the head's own probe needs.
    """
    number, notes = stage_choice.chosen_stages(classifier, splits, settings, context)
    for note in notes:
        context.console.line(note)
    read_last_stages(classifier, number)
    judge_layers = layer_probes.fit(classifier, splits, settings, backbone, context) if settings.layers else None
    classifier.to(context.runtime.device)
    classifier.freeze(list(classifier.stages))
    with classifier.frozen_verified():
        train, val = features_of(classifier, splits, settings.batch_size, context)
    labelled = LabelledFeatures.of(splits, train, val, context.runtime)
    solved = probe_heads.CLASSIFIERS[settings.classifier](labelled, settings, context.seed)
    honest = under_head(solved.honest, val, splits.val, labelled.train_features.device) if len(val) else None
    held_out = _cross_validated(labelled, splits, settings, solved, context.seed)
    classifier.head = solved.head.to(context.runtime.device)
    groups = _groups(classifier)
    show_groups(groups, context.console)
    for line in solved.lines:
        context.console.line(line)

    def judge_others(test: Images) -> OtherResults:
        if judge_layers is not None:
            return OtherResults(layers=judge_layers(test))
        if solved.judge_others is None:
            return OtherResults()
        features = _features(classifier, test, "test", settings.batch_size, context)
        return OtherResults(neighbours=solved.judge_others(features, test.require_labels()))

    return Fitted(honest, groups, probe=solved.facts, notes=notes, judge_others=judge_others, cross_validated=held_out)


def _cross_validated(
    labelled: LabelledFeatures, splits: Splits, settings: ProbeSettings, solved: Solved, seed: int
) -> Outputs | None:
    """What stands in for outputs on val where there are few, see `ood.rejection`."""
    if len(splits.val) >= FEWEST_TO_REJECT:
        return None
    C = settings.C if settings.C is not None else solved.facts.C
    k = None if settings.k is None else min(settings.k, max(1, len(splits.train) // 2))
    settings = settings.model_copy(update={"C": C, "k": k})
    return cross_validated(probe_heads.CLASSIFIERS[settings.classifier], labelled, splits.train, settings, seed)


def features_of(
    classifier: Classifier, splits: Splits, batch_size: BatchSize, context: Context
) -> tuple[Features, Features]:
    """Features of train and of val, from the store where they are."""
    train = _features(classifier, splits.train, "train", batch_size, context)
    return train, _features(classifier, splits.val, "val", batch_size, context)


def _features(classifier: Classifier, images: Images, part: str, batch_size: BatchSize, context: Context) -> Features:
    return stored_features(classifier, images, context.runtime, context.console, f"features of {part}", batch_size)


def _groups(classifier: Classifier) -> list[ParameterGroup]:
    """All stages frozen, and the head solved."""

    def count(stage: str) -> int:
        return sum(value.numel() for value in classifier.stage_parameters(stage).values())

    frozen = [ParameterGroup(stage, count(stage), 0.0, 0.0, "eval") for stage in classifier.stages]
    return [*frozen, ParameterGroup("head", count("head"), 0.0, 0.0, "-", is_solved=True)]
