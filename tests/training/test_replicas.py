"""Several processes that train together: the same training as in one, to rounding, and every image judged once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from several_processes import in_processes
from small_trainings import MACHINE, classifier, images, settings

from transferkit.data.images import Images
from transferkit.metrics.history import History
from transferkit.models.classifier import Classifier
from transferkit.runtime.console import SILENT
from transferkit.runtime.context import Context
from transferkit.runtime.distributed import ALONE, CommandEnded, World, follow, order
from transferkit.training import parameter_groups, resolved_training, same_images, train
from transferkit.training.judging import judge
from transferkit.training.loop import begun

KEPT = {"batchnorm": "eval"}
TRAININGS: dict[str, dict[str, Any]] = {
    "plain": KEPT,
    "clipped": {**KEPT, "clip_norm": 0.05},
    "averaged": {**KEPT, "ema": True},
    "lookahead": {**KEPT, "lookahead": True},
    "weighted": {**KEPT, "class_weight": "balanced", "label_smoothing": 0.1},
    "mixed": {**KEPT, "mixup": 0.2, "cutmix": 1.0, "class_weight": {"dark": 3.0}},
    "adamw": {**KEPT, "optimizer": "adamw", "l2_sp": 0.1},
    "drawn": {**KEPT, "sampler": "balanced"},
    "passes": {**KEPT, "batch_size": 4, "accumulate": 4},
    "augmented": {**KEPT, "augment": {"crop": 0.3, "rotation": 15.0, "erasing": 0.5}},
    "unfrozen": {**KEPT, "gradual_unfreezing": True},
    "synchronised": {"sync_batchnorm": True},
}


class Toy:
    """Stands for the settings of a data set that every process has."""

    def model_dump_json(self) -> str:
        return "toy"


def uneven(count: int = 50) -> Images:
    """Three of four images are of the first class, in the order of chance; 50 leave a remainder in every division."""
    labels = np.random.default_rng(5).permutation(np.arange(count) % 4 == 0).astype(np.int64)
    return replace(images(count), labels=labels)


def trained(world: World, **changes: Any) -> tuple[Classifier, History]:
    chosen, network = resolved_training(settings(**changes)), classifier()
    network.batchnorm_frozen = changes.get("batchnorm") == "eval"
    groups = parameter_groups(network, chosen)
    context = Context(replace(MACHINE, world=world), SILENT, 0, data=Toy())
    return network, train(network, uneven(), images(15, 1), chosen, groups, context)


def all_trained(world: World) -> dict[str, tuple[dict[str, torch.Tensor], History]] | None:
    """The weights and the log of every training; followers take part in each."""
    same_images._LOADED["toy"] = (uneven(), images(15, 1))
    if not world.leads:
        follow(world)
        return None
    trainings = {name: trained(world, **changes) for name, changes in TRAININGS.items()}
    if world.is_shared:
        order(world, CommandEnded())
    return {name: (network.state_dict(), history) for name, (network, history) in trainings.items()}


@pytest.fixture(scope="module")
def alone() -> Any:
    return all_trained(ALONE)


@pytest.fixture(scope="module", params=[2, 3])
def together(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return in_processes(request.param, all_trained, tmp_path_factory.mktemp("processes"))[0]


@pytest.mark.scale
@pytest.mark.parametrize("name", TRAININGS)
def test_processes_together_give_the_weights_of_one(name: str, together: Any, alone: Any) -> None:
    (weights, history), (expected, expected_history) = together[name], alone[name]

    start = classifier().state_dict()
    assert max(float((expected[key] - start[key]).abs().max()) for key in start) > 1e-3
    assert max(float((weights[key] - expected[key]).abs().max()) for key in expected) < 1e-5
    assert [epoch.val_accuracy for epoch in history] == [epoch.val_accuracy for epoch in expected_history]
    for key in ("loss", "gradient_norm", "val_loss"):
        values = [[getattr(epoch, key) for epoch in log.epochs[1:]] for log in (history, expected_history)]
        assert values[0] == pytest.approx(values[1], rel=1e-4)


@pytest.mark.scale
def test_each_of_10_001_images_is_judged_once_by_three_processes(tmp_path: Any) -> None:
    val = images(10_001, 7)
    alone = judged(ALONE, val)

    parts = in_processes(3, lambda world: judged(world, val), tmp_path)

    assert [torch.equal(is_right, alone[0]) for is_right, _ in parts] == [True] * 3
    assert [loss for _, loss in parts] == pytest.approx([alone[1]] * 3, rel=1e-6)
    assert len(alone[0]) == 10_001


def judged(world: World, val: Images) -> tuple[torch.Tensor, float]:
    runtime, chosen = replace(MACHINE, world=world), resolved_training(settings())
    network = classifier()
    judgement = judge(begun(network, chosen, parameter_groups(network, chosen), runtime), val, runtime)
    assert judgement is not None
    return judgement.is_right, judgement.loss
