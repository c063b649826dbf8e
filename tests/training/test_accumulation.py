"""Steps made in several passes: the same training as with the large batch, to rounding."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from digits_recipe import digits
from small_trainings import MACHINE, classifier, images, settings
from torch import nn

from transferkit.data.images import Images
from transferkit.metrics.history import History
from transferkit.models.classifier import Classifier
from transferkit.recipe import ScratchSettings, parse
from transferkit.run import run
from transferkit.runtime.console import SILENT
from transferkit.runtime.context import Context
from transferkit.runtime.errors import TransferkitError
from transferkit.training import checkpoint as state
from transferkit.training import defaults, parameter_groups, resolved_training, train
from transferkit.training.estimates.work import training_length
from transferkit.training.groups import peak_rate
from transferkit.training.resolved import Mixing
from transferkit.training.step_loss import StepLoss, even_parts


def uneven(count: int = 48) -> Images:
    """Three of four images are of the first class, in the order of chance."""
    labels = np.random.default_rng(5).permutation(np.arange(count) % 4 == 0).astype(np.int64)
    return replace(images(count), labels=labels)


def trained(folder: Path | None = None, **changes: Any) -> tuple[Classifier, History]:
    chosen = resolved_training(settings(batchnorm="eval", **changes))
    network = classifier()
    network.batchnorm_frozen = True
    groups = parameter_groups(network, chosen)
    return network, train(network, uneven(), images(16, 1), chosen, groups, Context(MACHINE, SILENT, 0, folder))


def largest_difference(one: Classifier, other: Classifier) -> float:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return max(float((a - b).abs().max()) for a, b in pairs if a.is_floating_point())


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"clip_norm": 0.05},
        {"ema": True},
        {"class_weight": "balanced", "label_smoothing": 0.1},
        {"mixup": 0.4, "class_weight": {"dark": 3.0}},
        {"mixup": 0.2, "cutmix": 1.0},
        {"optimizer": "adamw", "l2_sp": 0.1},
        {"sampler": "balanced"},
    ],
    ids=str,
)
def test_four_passes_of_four_equal_one_of_sixteen(keys: dict[str, Any]) -> None:
    large, whole = trained(batch_size=16, **keys)
    small, parts = trained(batch_size=4, accumulate=4, **keys)

    assert largest_difference(large, classifier()) > 1e-3
    assert largest_difference(large, small) < 1e-5
    assert [epoch.step for epoch in parts] == [epoch.step for epoch in whole] == [0, 3, 6, 9]
    norms = [[epoch.gradient_norm for epoch in history.epochs[1:]] for history in (whole, parts)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)
    losses = [[epoch.loss for epoch in history.epochs[1:]] for history in (whole, parts)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_weighted_loss_of_parts_is_the_weighted_mean_over_all_of_them() -> None:
    network, weights = classifier().eval(), torch.tensor([0.5, 4.0])
    batch = torch.randint(0, 256, (8, 3, 8, 8), dtype=torch.uint8)
    labels = torch.tensor([0, 0, 0, 1, 1, 1, 1, 0])  # the halves count 5.5 and 12.5, so means of them are not the mean

    loss = StepLoss(Mixing(0.0, 0.0, 0.1), 4, MACHINE, weights).backward(network, batch, labels)

    expected = nn.CrossEntropyLoss(weight=weights, label_smoothing=0.1)(network(batch), labels)
    assert loss() == pytest.approx(expected.item(), rel=1e-5)


def test_parts_are_even_so_that_batchnorm_gets_no_image_alone() -> None:
    sizes = [part.stop - part.start for part in even_parts(33, 16)]

    assert sizes == [11, 11, 11]


def test_passes_of_one_image_are_refused_where_batchnorm_learns() -> None:
    chosen = resolved_training(settings(batch_size=1, accumulate=16))
    network = classifier()

    with pytest.raises(TransferkitError, match="One image per step is too few for BatchNorm"):
        train(network, images(), images(0), chosen, parameter_groups(network, chosen), Context(MACHINE, SILENT, 0))


def test_rate_follows_the_images_of_a_step() -> None:
    rates = [
        peak_rate(resolved_training(settings(lr=0.128, **keys)), 1)
        for keys in ({"batch_size": 64}, {"batch_size": 16, "accumulate": 4}, {"batch_size": 16})
    ]

    assert rates == pytest.approx([0.064, 0.064, 0.016])


def test_batch_that_nobody_chose_is_divided_by_the_passes() -> None:
    def batch(accumulate: int) -> int | None:
        recipe = parse(
            {
                "data": "digits",
                "backbone": {"name": "resnet20"},
                "method": {"name": "scratch", "accumulate": accumulate},
            }
        )
        method = defaults.resolved(recipe, 1280, 8).method
        assert isinstance(method, ScratchSettings)
        return method.batch_size

    assert [batch(1), batch(4)] == [128, 32]


def test_estimate_of_a_budget_of_steps_counts_the_images_of_whole_steps() -> None:
    method = ScratchSettings(name="scratch", budget="10steps", batch_size=16, accumulate=4)

    assert training_length(method, 1000, 1000) == (640, 0)


def test_run_counts_whole_steps_and_what_they_cost(tmp_path: Path) -> None:
    done = run(digits("scratch", batch_size=8, accumulate=4), tmp_path / "run", console=SILENT)

    costs = done.facts.costs
    assert costs is not None
    steps = 2 * (done.facts.data.n.train // 32)
    assert steps == 4
    assert (costs.steps, costs.images_trained_on) == (steps, 32 * steps)


def test_interrupted_training_in_passes_resumes_to_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys: dict[str, Any] = {"batch_size": 4, "accumulate": 4, "ema": True}
    whole, _ = trained(**keys)
    monkeypatch.setattr(state, "SECONDS_BETWEEN_SAVES", 0.0)
    save = state.save

    def save_then_stop(training: state.Training, folder: Path | None) -> None:
        save(training, folder)
        if len(training.history) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(state, "save", save_then_stop)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path, **keys)
    monkeypatch.setattr(state, "save", save)

    assert largest_difference(trained(tmp_path, **keys)[0], whole) == 0
