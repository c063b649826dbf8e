"""Train mode against eval mode: accuracy and spread of the predictions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from transferkit.data.images import Images
from transferkit.models.classifier import Classifier
from transferkit.models.stored_model import InputSpec
from transferkit.runtime.errors import TransferkitError
from transferkit.studies.lab import mode_effects
from transferkit.studies.lab.mode_effects import awake, effects

CPU = torch.device("cpu")


def network(*layers: nn.Module) -> Classifier:
    """Two classes by brightness: the head answers `light` where the mean of the image is above one half."""
    body = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), *layers)
    stages = {"all": tuple(str(number) for number in range(len(body)))}
    spec = InputSpec(4, (0.5, 0.5, 0.5), (1.0, 1.0, 1.0))
    classifier = Classifier(body, 3, ("dark", "light"), stages, spec)
    classifier.set_head(torch.tensor([[-4.0] * 3, [4.0] * 3]), torch.zeros(2))
    return classifier


def images(count: int = 40) -> Images:
    labels = np.arange(count) % 2
    noise = np.random.default_rng(0).integers(0, 60, (count, 3, 4, 4))
    return Images.from_pixels((noise + 160 * labels[:, None, None, None]).astype(np.uint8), labels, ("dark", "light"))


def test_eval_mode_gives_one_answer_and_dropout_awake_gives_many() -> None:
    asleep, dropout = effects(network(nn.Dropout(0.7)), images(), CPU, passes=8)[:2]

    assert (asleep.mode, asleep.accuracy, asleep.spread, asleep.changing) == ("eval", 1.0, 0.0, 0.0)
    assert dropout.mode == "dropout awake"
    # all three features fall out with probability 0.7^3 = 0.34; then a tie goes to `dark`, wrong for light images
    assert dropout.accuracy == pytest.approx(1 - 0.5 * 0.7**3, abs=0.06)
    assert dropout.spread > 0.05
    assert 0.3 < dropout.changing <= 0.5


def test_spread_is_the_standard_deviation_over_passes() -> None:
    probabilities = np.array([[[0.9, 0.1]], [[0.5, 0.5]], [[0.2, 0.8]]], np.float32)  # 3 passes, 1 image

    effect = mode_effects._effect("train", probabilities, np.array([0]), np.array([0]))

    assert effect.spread == pytest.approx(np.std([0.9, 0.5, 0.2], ddof=1))
    assert effect.accuracy == pytest.approx(2 / 3)
    assert effect.accuracy_sd == pytest.approx(np.std([1, 1, 0], ddof=1))
    assert effect.changing == 1


def test_only_modes_that_differ_are_shown() -> None:
    assert [row.mode for row in effects(network(nn.BatchNorm1d(3)), images(), CPU, 2)] == ["eval", "BatchNorm awake"]
    both = effects(network(nn.BatchNorm1d(3), nn.Dropout(0.5)), images(), CPU, 2)
    assert [row.mode for row in both] == list(mode_effects.KINDS)


def test_a_network_without_such_layers_is_refused_with_a_recipe_to_try() -> None:
    with pytest.raises(TransferkitError, match=r"neither dropout nor BatchNorm.*run lab-dropout"):
        effects(network(nn.Dropout(0.0)), images(), CPU)
    with pytest.raises(TransferkitError, match="at least two passes; found 1"):
        effects(network(nn.Dropout(0.5)), images(), CPU, passes=1)


def test_statistics_mode_and_random_numbers_are_put_back() -> None:
    classifier = network(nn.BatchNorm1d(3), nn.Dropout(0.5)).train()
    before, state = classifier.digest(["all", "head"]), torch.get_rng_state()

    effects(classifier, images(), CPU, passes=2)

    assert classifier.training
    assert classifier.digest(["all", "head"]) == before
    assert torch.equal(torch.get_rng_state(), state)


def test_awake_wakes_one_kind_alone() -> None:
    classifier = network(nn.BatchNorm1d(3), nn.Dropout(0.5))

    with awake(classifier, mode_effects.KINDS["dropout awake"]):
        states = [module.training for module in classifier.body]  # type: ignore[union-attr]

    assert states == [False, False, False, True]
