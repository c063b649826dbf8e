"""Probe: a frozen backbone, and a classifier on its features that is solved, not trained by steps."""

from __future__ import annotations

from typing import Any

from transferkit.classifier import Classifier
from transferkit.features.extractor import BatchSize, stored_features, under_head
from transferkit.features.store import Features
from transferkit.images import Images, Splits
from transferkit.methods import probe_heads
from transferkit.methods.fitted import Fitted
from transferkit.methods.probe_heads import Known
from transferkit.methods.table import show_groups
from transferkit.recipe import ProbeSettings
from transferkit.runtime import Runtime
from transferkit.screen import Screen
from transferkit.training import ParameterGroup


def fit(
    classifier: Classifier,
    splits: Splits,
    settings: ProbeSettings,
    runtime: Runtime,
    screen: Screen,
    seed: int,
) -> Fitted:
    """Give the classifier a head fitted on train and val; its body stays as it is.

    What is chosen is chosen on val by a head that saw train alone; that head's outputs on val are the ones given back.
    """
    classifier.to(runtime.device)
    classifier.freeze(list(classifier.stages))
    with classifier.frozen_verified():
        train, val = features_of(classifier, splits, settings.batch_size, runtime, screen)
    known = Known.of(splits, train, val, runtime)
    solved = probe_heads.CLASSIFIERS[settings.classifier](known, settings, seed)
    honest = under_head(solved.honest, val, splits.val, known.train_features.device) if len(val) else None
    classifier.head = solved.head.to(runtime.device)
    groups = _groups(classifier)
    show_groups(groups, screen)
    for line in solved.lines:
        screen.line(line)

    def judge_others(test: Images) -> dict[str, Any]:
        if solved.judge_others is None:
            return {}
        features = stored_features(classifier, test, runtime, screen, "features of test", settings.batch_size)
        return solved.judge_others(features, test.labels)

    return Fitted(honest, groups, facts={"probe": solved.facts}, judge_others=judge_others)


def start_head(classifier: Classifier, splits: Splits, runtime: Runtime, screen: Screen, seed: int) -> dict[str, Any]:
    """Give the classifier the head of a probe fitted on train alone, for fine-tuning to start from (LP-FT).

    Kumar et al. 2022 (arXiv:2202.10054), section 3.4.

    Returns:
        What the report shows of the probe.
    """
    classifier.to(runtime.device)
    train, val = features_of(classifier, splits, "auto", runtime, screen)
    known = Known.of(splits, train, val, runtime)
    choice, start = probe_heads.linear_start(known, ProbeSettings(name="probe"), seed)
    head = start.head(0)
    classifier.set_head(head.weight, head.bias)
    for line in probe_heads.in_words(choice, start):
        screen.line(line)
    return probe_heads.linear_facts(choice, start)


def features_of(
    classifier: Classifier, splits: Splits, batch_size: BatchSize, runtime: Runtime, screen: Screen
) -> tuple[Features, Features]:
    """Features of train and of val, from the store where they are."""

    def of(images: Images, name: str) -> Features:
        return stored_features(classifier, images, runtime, screen, f"features of {name}", batch_size)

    return of(splits.train, "train"), of(splits.val, "val")


def _groups(classifier: Classifier) -> list[ParameterGroup]:
    """All stages frozen, and the head solved."""

    def count(stage: str) -> int:
        return sum(value.numel() for value in classifier.stage_parameters(stage).values())

    frozen = [ParameterGroup(stage, count(stage), 0.0, 0.0, "eval") for stage in classifier.stages]
    return [*frozen, ParameterGroup("head", count("head"), 0.0, 0.0, "-", is_solved=True)]
