"""Uneven classes: weights, draws and shifted logits against hand-computed values and plain PyTorch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from small_trainings import MACHINE, classifier, images, settings
from torch import nn

from transferkit.data.batches import TrainingBatches
from transferkit.data.images import Images
from transferkit.recipe import FinetuneSettings
from transferkit.runtime.console import SILENT
from transferkit.runtime.context import Context
from transferkit.runtime.errors import TransferkitError
from transferkit.training import parameter_groups, resolved_training, train
from transferkit.training.balance import NO_BALANCE, Balance
from transferkit.training.resolved import Mixing
from transferkit.training.step_loss import StepLoss

CPU = torch.device("cpu")


def uneven(common: int = 30, rare: int = 10) -> Images:
    """Two classes, the second one rare."""
    many = images(2 * common)
    labels = np.array([0] * common + [1] * rare)
    return replace(many.subset(range(common + rare)), labels=labels)


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    weights = Balance("balanced", "shuffled", 0.0).loss_weights(uneven(), CPU)

    assert weights is not None
    expected = compute_class_weight("balanced", classes=np.array([0, 1]), y=uneven().require_labels())
    assert weights.tolist() == pytest.approx(expected.tolist())  # 40 / (2 * 30) and 40 / (2 * 10)
    assert weights.tolist() == pytest.approx([2 / 3, 2.0])


def test_a_class_without_images_has_no_weight_and_changes_none() -> None:
    weights = Balance("balanced", "shuffled", 0.0).loss_weights(uneven(rare=0), CPU)

    assert weights is not None
    assert weights.tolist() == [1.0, 0.0]


def test_weights_by_name_leave_the_others_at_one() -> None:
    name = uneven().class_names[1]

    weights = Balance({name: 3.0}, "shuffled", 0.0).loss_weights(uneven(), CPU)

    assert weights is not None
    assert weights.tolist() == [1.0, 3.0]


def test_a_weight_for_a_class_that_is_not_there_names_the_nearest() -> None:
    name = uneven().class_names[1]

    with pytest.raises(TransferkitError, match=rf"class_weight names '{name}x', which is no class.*{name}"):
        Balance({f"{name}x": 3.0}, "shuffled", 0.0).loss_weights(uneven(), CPU)


def test_weighted_loss_equals_that_of_pytorch() -> None:
    network, weights = classifier().eval(), torch.tensor([0.5, 4.0])
    batch = torch.randint(0, 256, (8, 3, 8, 8), dtype=torch.uint8)
    labels = torch.tensor([0, 0, 0, 1, 0, 1, 0, 0])

    loss = StepLoss(Mixing(0.0, 0.0, 0.1), 8, MACHINE, weights).backward(network, batch, labels)

    expected = nn.CrossEntropyLoss(weight=weights, label_smoothing=0.1)(network(batch), labels)
    assert loss() == pytest.approx(expected.item(), rel=1e-5)


def test_balanced_sampler_draws_each_class_as_often() -> None:
    few = uneven()
    batches = TrainingBatches(few, 40, CPU, None, 0, Balance("even", "balanced", 0.0).draw_weights(few))

    rare = [int(labels.sum()) for number in range(200) for _, labels in batches.epoch(number)]

    # 40 draws with probability 1/2: a mean of 20 +- 3.2 / sqrt(200)
    assert np.mean(rare) == pytest.approx(20, abs=4 * 0.22)


def test_balanced_sampler_repeats_for_the_same_seed_and_epoch() -> None:
    few = uneven()
    weights = Balance("even", "balanced", 0.0).draw_weights(few)

    first, again = (next(TrainingBatches(few, 16, CPU, None, 3, weights).epoch(5))[0] for _ in range(2))

    assert torch.equal(first, again)


def test_logit_adjustment_shifts_by_the_logarithm_of_how_common_a_class_is() -> None:
    network = classifier().eval()
    batch = torch.randint(0, 256, (8, 3, 8, 8), dtype=torch.uint8)
    before = network(batch)

    Balance("even", "shuffled", 1.5).adjust(network, uneven())

    shift = (before - network(batch))[0]
    assert shift.tolist() == pytest.approx([1.5 * np.log(0.75), 1.5 * np.log(0.25)], abs=1e-5)


def test_logit_adjustment_refuses_a_class_without_images() -> None:
    with pytest.raises(TransferkitError, match="has no training image"):
        Balance("even", "shuffled", 1.0).adjust(classifier(), uneven(rare=0))


def test_training_adjusts_the_result_by_the_images_it_learnt_from() -> None:
    def trained(**values: Any) -> torch.Tensor:
        network, chosen = classifier(), resolved_training(settings(epochs=1, **values))
        groups = parameter_groups(network, chosen)
        train(network, uneven(), images(0), chosen, groups, Context(MACHINE, SILENT, 0))
        assert isinstance(network.head, nn.Linear)
        return network.head.bias.detach()

    shift = trained() - trained(logit_adjustment=1.0)

    assert shift.tolist() == pytest.approx([np.log(0.75), np.log(0.25)], abs=1e-5)


def test_class_weights_change_what_is_learnt() -> None:
    def bias(**values: Any) -> float:
        network, chosen = classifier(), resolved_training(settings(epochs=1, **values))
        train(network, uneven(), images(0), chosen, parameter_groups(network, chosen), Context(MACHINE, SILENT, 0))
        assert isinstance(network.head, nn.Linear)
        dark, light = network.head.bias.tolist()
        return float(light - dark)

    assert bias(class_weight="balanced") > bias()


@pytest.mark.parametrize(
    "keys",
    [
        {"class_weight": "balanced", "sampler": "balanced"},
        {"class_weight": {"cat": 2.0}, "logit_adjustment": 1.0},
        {"sampler": "balanced", "logit_adjustment": 1.0},
    ],
)
def test_two_corrections_at_once_are_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=" and ".join(keys) + " correct the same thing twice. Give one of them."):
        FinetuneSettings(name="finetune", **keys)


def test_class_weights_are_read_from_text() -> None:
    chosen = FinetuneSettings(name="finetune", class_weight="cat=2, dog=0.5")

    assert chosen.class_weight == {"cat": 2.0, "dog": 0.5}


@pytest.mark.parametrize("text", ["cat", "even,dog=2", "2"])
def test_a_text_without_weights_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"no list of class=weight. Write balanced, or cat=2,dog=1"):
        FinetuneSettings(name="finetune", class_weight=text)


def test_without_a_word_nothing_is_done() -> None:
    assert resolved_training(settings()).balance == NO_BALANCE
    assert NO_BALANCE.loss_weights(uneven(), CPU) is None
    assert NO_BALANCE.draw_weights(uneven()) is None
