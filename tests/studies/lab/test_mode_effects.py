"""Train mode against eval mode: accuracy and spread of the predictions."""

from __future__ import annotations

from pathlib import Path

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


def test_sorted_batches_hold_one_class_each_and_shuffled_ones_are_as_large() -> None:
    labels = np.array([0] * 130 + [1] * 5)

    by_class, alike = mode_effects.sorted_by_class(labels), mode_effects.shuffled_alike(labels)

    assert [len(batch) for batch in by_class] == [44, 43, 43, 5]  # at most 64, as equal as can be
    assert [set(labels[batch]) for batch in by_class] == [{0}, {0}, {0}, {1}]
    assert [len(batch) for batch in alike] == [44, 43, 43, 5]
    for batches in (by_class, alike):
        assert sorted(np.concatenate(batches)) == list(range(135))


def test_batchnorm_loses_what_tells_classes_apart_in_batches_of_one_class() -> None:
    asleep, shuffled, by_class = mode_effects.effects_of_sorting(learnt_batchnorm(), images(), CPU, passes=4)

    assert (asleep.accuracy, shuffled.accuracy) == (1.0, 1.0)
    assert by_class.mode == "BatchNorm awake, by class"
    # a batch of one brightness is normalised to mean zero, so noise alone decides
    assert by_class.accuracy == pytest.approx(0.5, abs=0.2)


def learnt_batchnorm() -> Classifier:
    """BatchNorm whose running statistics are those of all images."""
    classifier = network(nn.BatchNorm1d(3))
    pixels = torch.from_numpy(images().pixels[:]).float() / 255 - 0.5
    norm = classifier.body[2]  # type: ignore[index]
    norm.running_mean.copy_(pixels.mean((0, 2, 3)))
    norm.running_var.copy_(pixels.mean((2, 3)).var(0))
    return classifier


def test_sorting_is_refused_where_it_makes_no_difference_or_a_class_is_alone() -> None:
    with pytest.raises(TransferkitError, match="no BatchNorm, so it makes no difference which images share a batch"):
        mode_effects.effects_of_sorting(network(nn.Dropout(0.5)), images(), CPU)
    with pytest.raises(TransferkitError, match="needs two images or more; val has 1 of 'light'"):
        mode_effects.effects_of_sorting(network(nn.BatchNorm1d(3)), images(5).subset([0, 1, 2, 4]), CPU)


def test_modes_are_drawn(tmp_path: Path) -> None:
    rows = effects(network(nn.BatchNorm1d(3)), images(), CPU, 2)

    mode_effects.draw(rows, tmp_path / "modes.svg")

    assert "BatchNorm awake" in (tmp_path / "modes.svg").read_text(encoding="utf-8")
