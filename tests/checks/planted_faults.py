"""For each check the facts of a run with its fault, and those of a run without any."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from synthetic_runs import outputs

from transferkit import recipe as recipes
from transferkit.checks.subject import CheckedRun
from transferkit.metrics.evaluation import evaluate
from transferkit.metrics.history import Epoch, History
from transferkit.metrics.outputs import Outputs
from transferkit.runs.facts import Fingerprints, ImageCounts, ProbeFacts, RunData, RunFacts, SettledRates

RATES = SettledRates("train", "sgd", 0.03, 0.0, 0.03, 5e-4)


def recipe_of(method: str = "finetune", **keys: object) -> recipes.Recipe:
    size = {"size": 64} | ({"epochs": 30, "flip": False, "augment": {}} if method != "probe" else {})
    return recipes.parse(
        {"data": "cifar10", "backbone": {"name": "resnet18"}, "method": {"name": method, **size, **keys}}
    )


def facts_of(**changes: object) -> RunFacts:
    data = RunData("cifar10", Fingerprints("a", "b", "c"), ImageCounts(4000, 1000, 1000), (32, 32))
    return replace(RunFacts({"fit": 1.0}, data, test_openings=1, rates=RATES), **changes)  # type: ignore[arg-type]


def history_of(*accuracies: float, n: int = 1000) -> History:
    """Epochs with these val accuracies, the start first; what is lost is lost for good."""
    start = round(n * accuracies[0])
    epochs = [
        Epoch(number, loss=1 / (number + 1), val_accuracy=value, val_loss=1 - value, val_images=n)
        for number, value in enumerate(accuracies)
    ]
    moved = [
        replace(epoch, val_gained=max(0, round(n * value) - start), val_lost=max(0, start - round(n * value)))
        for epoch, value in zip(epochs, accuracies, strict=True)
    ]
    return History(tuple(moved)).keeping(moved[-1])


def answers(per_class: int = 250, right: float = 0.9, labels: object = None) -> Outputs:
    """Four classes of which this share is right, confident as it should be."""
    test = outputs(per_class=per_class, wrong=round((1 - right) * per_class), labels=labels)  # type: ignore[arg-type]
    logits = np.where(test.logits > 0, np.log(max(right, 1e-3) / max(1 - right, 1e-3) * 3), 0).astype(np.float32)
    return replace(test, logits=logits)


def clean(method: str = "finetune") -> CheckedRun:
    """A run in which nothing is wrong."""
    test = answers()
    history = history_of(0.85, 0.88, 0.9) if method != "probe" else History()
    return CheckedRun("RUN", recipe_of(method), facts_of(), evaluate(test, answers(), history), history, None, test)


def after(run: CheckedRun, *accuracies: float, n: int = 1000) -> CheckedRun:
    """The run as if its training had gone so on val."""
    history = history_of(*accuracies, n=n)
    assert run.test is not None
    return replace(run, history=history, evaluation=evaluate(run.test, answers(), history))


def answering(run: CheckedRun, test: Outputs, val: Outputs | None = None) -> CheckedRun:
    """The run as if it had given these answers."""
    return replace(run, test=test, evaluation=evaluate(test, val if val is not None else answers(), run.history))


def few_of_a_class() -> CheckedRun:
    return answering(clean(), outputs(labels=[0] * 40 + [1] * 40 + [2] * 40 + [3] * 4, wrong=1))


def guesses() -> CheckedRun:
    """Six of ten images are cats; seven are right, one more than by calling all of them cats."""
    return answering(clean(), outputs(names=("cat", "dog"), labels=[0] * 6 + [1] * 4, wrong=0, per_class=6))


PROBE = ProbeFacts(C=1e5, grid=(1.0, 1e3, 1e5), validation_accuracy=(0.7, 0.8, 0.9), on_boundary=True)

FAULTS: dict[str, CheckedRun] = {
    "TK001": after(clean(), 0.9, 0.85, 0.8),
    "TK002": guesses(),
    "TK003": few_of_a_class(),
    "TK004": replace(clean(), facts=facts_of(test_openings=3)),
    "TK005": replace(clean("probe"), facts=facts_of(probe=PROBE)),
}
