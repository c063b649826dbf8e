"""For each check the facts of a run with its fault, and those of a run without any."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from synthetic_runs import NAMES, outputs

from transferkit import recipe as recipes
from transferkit.data.file_facts import Depth, DroppedBands, FileFacts, Names
from transferkit.data.split_facts import ClassCounts, SplitFacts
from transferkit.metrics.evaluation import evaluate
from transferkit.metrics.history import Epoch, History
from transferkit.metrics.outputs import Outputs
from transferkit.models.stored_model import RANDOM_WEIGHTS, InputSpec, StoredModel, Thresholds, WeightsRecord
from transferkit.runs.checks.subject import CheckedRun
from transferkit.runs.facts import (
    Fingerprints,
    FirstLoss,
    ImageCounts,
    MirrorLoss,
    ProbeFacts,
    RunData,
    RunFacts,
    SettledRates,
    StartFacts,
)

RATES = SettledRates("train", "sgd", 0.03, 0.0, 0.03, 5e-4)


MODEL = StoredModel(
    backbone=recipes.BackboneSettings(name="resnet18"),
    class_names=NAMES,
    input=InputSpec(64, (0.5, 0.5, 0.5), (0.2, 0.2, 0.2)),
    weights=WeightsRecord("torchvision", "IMAGENET1K_V1"),
    rejection=Thresholds("knn", 100, (0.0, 1.0), 1.0, 1.0),
)


def recipe_of(method: str = "finetune", **keys: object) -> recipes.Recipe:
    size = {"size": 64} | ({"epochs": 30, "flip": False, "augment": {}} if method != "probe" else {})
    backbone = {"name": "resnet18", "weights": keys.pop("weights", "imagenet")}
    return recipes.parse({"data": "cifar10", "backbone": backbone, "method": {"name": method, **size, **keys}})


PARTS = SplitFacts(NAMES, ClassCounts((1000,) * 4, (250,) * 4, (250,) * 4))
DATA = RunData("cifar10", Fingerprints("a", "b", "c"), ImageCounts(4000, 1000, 1000), (32, 32), parts=PARTS)


def facts_of(**changes: object) -> RunFacts:
    data = DATA
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
    return CheckedRun("RUN", recipe_of(method), facts_of(), evaluate(test, answers(), history), history, MODEL, test)


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

SIDES = ("turn left", "turn right", "stop", "go")


def sure(test: Outputs, wrong: int) -> Outputs:
    """All answers right with 99.9 %, but the first few, which are as sure of the next class."""
    predicted = test.require_labels().copy()
    predicted[:wrong] = (predicted[:wrong] + 1) % len(test.class_names)
    logits = np.full((len(test), len(test.class_names)), 0.0, np.float32)
    logits[np.arange(len(test)), predicted] = 8.0
    return replace(test, logits=logits)


def parts_of(**changes: object) -> CheckedRun:
    """The run as if its parts were so."""
    data = replace(DATA, parts=replace(PARTS, **changes))  # type: ignore[arg-type]
    return replace(clean(), facts=facts_of(data=data))


def files_of(**changes: object) -> CheckedRun:
    """The run as if its files were so."""
    return parts_of(files=FileFacts(**changes))  # type: ignore[arg-type]


def few(*names: str, of: int) -> Names | None:
    return Names.some(names, of)


def of_few(n: int, **changes: object) -> RunFacts:
    data = RunData("cifar10", Fingerprints("a", "b", "c"), ImageCounts(n, 1000, 1000), (256, 256))
    return facts_of(data=data, **changes)


def losses_of(losses: tuple[float, ...], val: tuple[float, ...]) -> History:
    epochs = [Epoch(0, val_accuracy=0.5, val_loss=1.0, val_images=1000)]
    epochs += [
        Epoch(number, loss=loss, val_accuracy=0.9, val_loss=val_loss, val_images=1000)
        for number, (loss, val_loss) in enumerate(zip(losses, val, strict=True), 1)
    ]
    return History(tuple(epochs)).keeping(epochs[-1])


def model_of(**changes: object) -> StoredModel:
    return replace(MODEL, **changes)  # type: ignore[arg-type]


FAULTS: dict[str, CheckedRun] = {
    "TK001": after(clean(), 0.9, 0.85, 0.8),
    "TK002": guesses(),
    "TK003": few_of_a_class(),
    "TK004": replace(clean(), facts=facts_of(test_openings=3)),
    "TK005": replace(clean("probe"), facts=facts_of(probe=PROBE)),
    "TK006": answering(clean(), outputs(per_class=10, wrong=3)),
    "TK007": answering(clean(), outputs(labels=[0] * 40 + [1] * 40 + [2] * 40 + [3] * 12, wrong=12)),
    "TK008": answering(clean(), answers(right=0.7), answers(right=0.9)),
    "TK009": replace(clean("probe"), facts=facts_of(probe=ProbeFacts(C=1e4, converged=False))),
    "TK010": replace(after(clean(), 0.8, 0.85, 0.9), recipe=recipe_of(epochs=2, keep="best")),
    "TK011": replace(clean(), facts=facts_of(data=replace(facts_of().data, n=ImageCounts(4000, 0, 1000)))),
    "TK012": replace(clean(), facts=of_few(4000, input_reason="as asked"), model=MODEL),
    "TK013": replace(clean(), model=model_of(weights=RANDOM_WEIGHTS)),
    "TK014": replace(parts_of(class_names=SIDES), recipe=recipe_of(flip=True)),
    "TK015": replace(clean("scratch"), facts=of_few(20)),
    "TK016": replace(clean(), history=losses_of((0.5, 0.1, 0.01), (0.4, 0.35, 0.6))),
    "TK017": replace(clean(), history=losses_of((2.30, 2.31, 2.30), (2.3, 2.3, 2.3))),
    "TK018": answering(clean(), sure(answers(), 150), answers(per_class=10)),
    "TK019": replace(clean(), model=model_of(rejection=Thresholds("knn", 12, (), None, None))),
    "TK020": answering(clean(), sure(answers(), 30), sure(answers(), 0)),
    "TK021": parts_of(n=ClassCounts((1000, 90, 800, 900), (250,) * 4, (250,) * 4)),
    "TK022": parts_of(copies=few("test/cat/1.png", of=1000)),
    "TK023": parts_of(near_copies=few(*(f"test/cat/{number}.png" for number in range(40)), of=1000)),
    "TK024": parts_of(tested_groups=few("patient07", of=20)),
    "TK025": files_of(parted_folders=few("patient00", "patient01", of=2)),
    "TK026": files_of(outer_folders=few("ann", "bob", "eve", of=3), inner_folders=few("ill", "well", of=2)),
    "TK027": files_of(depth=Depth(0, 4095, 1200)),
    "TK028": files_of(dropped_bands=DroppedBands(100, 100, 4)),
    "TK029": parts_of(n=ClassCounts((1000,) * 4, (250,) * 4, (250, 250, 250, 0))),
    "TK030": replace(clean(), facts=facts_of(input_reason="as asked", input_px=64, weights_px=224)),
    "TK031": replace(clean("scratch"), facts=facts_of(start=StartFacts(first_loss=FirstLoss(6.3, 4)))),
    "TK032": replace(clean(), facts=facts_of(start=StartFacts(mirroring=MirrorLoss(0.2, 0.16, 0.24)))),
    "TK033": replace(clean(), facts=facts_of(chosen_from=5, data=replace(DATA, n=ImageCounts(900, 100, 1000)))),
}
