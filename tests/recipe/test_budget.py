"""Budgets: what can be written, what it means, and that the training loop keeps it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from small_trainings import MACHINE, classifier, images, settings

from transferkit.models.backbones import load
from transferkit.models.receptive_fields import total_flops
from transferkit.recipe import BackboneSettings, Recipe, ScratchSettings, from_options
from transferkit.recipe.budget import Budget, read
from transferkit.runtime.console import SILENT
from transferkit.runtime.context import Context
from transferkit.runtime.errors import TransferkitError
from transferkit.training import checkpoint as state
from transferkit.training import defaults, epoch, parameter_groups, resolved_training, train
from transferkit.training.pace import Pace
from transferkit.training.rates import rate_share


@pytest.mark.parametrize(
    ("text", "kind", "amount"),
    [
        ("3epochs", "epochs", 3),
        ("1 epoch", "epochs", 1),
        ("500steps", "steps", 500),
        ("90s", "seconds", 90),
        ("10min", "seconds", 600),
        ("0.5h", "seconds", 1800),
        ("1e15flops", "flops", 1e15),
        ("2E12FLOPs", "flops", 2e12),
        ("converged", "converged", 0),
    ],
)
def test_a_budget_is_a_number_with_a_unit(text: str, kind: Any, amount: float) -> None:
    assert read(text) == Budget(kind, amount)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "3 parsecs",
            "Cannot read the budget '3 parsecs'. Expected a number with a unit, as in 3epochs, 500steps, 10min",
        ),
        ("three", "Cannot read the budget 'three'. Expected a number with a unit"),
        ("1.2.3s", "Cannot read the budget '1.2.3s': '1.2.3' is no number."),
        ("0epochs", "The budget '0epochs' trains nothing. Expected more than zero"),
        ("0min", "The budget '0min' trains nothing. Expected more than zero"),
        ("2.5epochs", "The budget '2.5epochs' is no whole number. To stop within an epoch, count in steps."),
    ],
)
def test_what_is_no_budget_is_refused_with_examples(text: str, says: str) -> None:
    with pytest.raises(TransferkitError) as error:
        read(text)

    assert says in str(error.value)


def test_a_wrong_budget_in_a_recipe_names_its_key() -> None:
    with pytest.raises(TransferkitError, match=r"method.*budget: Cannot read the budget 'long'"):
        from_options("scratch", "resnet20", "digits", {"budget": "long"}, ())


def test_epochs_and_a_budget_are_two_lengths() -> None:
    with pytest.raises(TransferkitError, match=r"epochs 5 and budget '10min' are two lengths. Give one of them."):
        from_options("scratch", "resnet20", "digits", {"budget": "10min", "epochs": 5}, ())


# ---- resolved into what the loop understands ----


def resolved(budget: str, **options: Any) -> ScratchSettings:
    recipe: Recipe = from_options("scratch", "resnet20", "digits", {"budget": budget, **options}, ())
    method = defaults.resolved(recipe, 800, 8).method
    assert isinstance(method, ScratchSettings)
    return method


def test_a_budget_in_epochs_is_written_as_epochs() -> None:
    method = resolved("3epochs")

    assert (method.epochs, method.budget) == (3, None)


def test_converged_means_the_methods_own_length() -> None:
    method = resolved("converged")

    assert (method.epochs, method.budget) == (30, None)


def test_operations_buy_steps_of_three_forward_passes_per_image() -> None:
    backbone = BackboneSettings(name="resnet20", weights="none")
    forward = total_flops(load(backbone, ("a", "b"), 8, SILENT).body, 8)

    method = resolved("1e11flops", batch_size=50)

    assert method.budget == f"{int(1e11 // (3 * forward * 50))}steps"
    assert method.epochs is None


def test_too_few_operations_for_one_step_say_what_one_costs() -> None:
    with pytest.raises(TransferkitError, match=r"'1e6flops' buys no step: one step of resnet20 takes [\d.e+]+ operat"):
        resolved("1e6flops")


def test_defaults_of_a_budget_in_steps_follow_the_passes_it_makes() -> None:
    # 800 images in batches of 64 are 12 steps a pass: 240 steps are 20 passes, 60 are 5
    assert (resolved("240steps").label_smoothing, resolved("60steps").label_smoothing) == (0.05, 0.0)


# ---- kept by the loop ----


def trained(budget: str, folder: Path | None = None) -> list[dict[str, Any]]:
    network, chosen = classifier(), settings(epochs=None, budget=budget, ema=True)
    groups = parameter_groups(network, resolved_training(chosen))
    return train(
        network, images(), images(16, 1), resolved_training(chosen), groups, Context(MACHINE, SILENT, 0, folder)
    )


def test_a_budget_in_steps_ends_within_an_epoch() -> None:
    history = trained("7steps")

    # 48 images in batches of 16 are 3 steps an epoch
    assert [epoch.step for epoch in history] == [0, 3, 6, 7]


def test_steps_of_whole_epochs_train_as_these_epochs_do() -> None:
    by_steps = trained("6steps")
    network = classifier()
    groups = parameter_groups(network, resolved_training(settings()))
    by_epochs = train(
        network,
        images(),
        images(16, 1),
        resolved_training(settings(epochs=2, ema=True)),
        groups,
        Context(MACHINE, SILENT, 0),
    )

    assert [epoch.loss for epoch in by_steps] == [epoch.loss for epoch in by_epochs]


class Clock:
    """A second passes at every look."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        self.now += 1.0
        return self.now


def test_a_budget_in_time_ends_by_the_clock_with_the_rate_near_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(epoch, "time", clock)
    monkeypatch.setattr(state, "time", clock)

    history = trained("60s")

    assert 60 <= sum(epoch.seconds for epoch in history) <= 66
    assert history.epochs[1].lr > 10 * history.last.lr


def test_a_budget_in_time_goes_on_after_a_stop_with_the_time_that_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(epoch, "time", clock)
    monkeypatch.setattr(state, "time", clock)
    save = state.save

    def save_then_stop(training: state.Training, folder: Path | None) -> None:
        save(training, folder)
        raise KeyboardInterrupt

    monkeypatch.setattr(state, "save", save_then_stop)
    with pytest.raises(KeyboardInterrupt):
        trained("60s", tmp_path)
    monkeypatch.setattr(state, "save", save)
    history = trained("60s", tmp_path)

    assert 60 <= sum(epoch.seconds for epoch in history) <= 66


def test_the_schedule_of_a_clock_is_that_of_the_steps_it_will_reach() -> None:
    pace = Pace(steps=None, seconds=100.0)

    # 50 steps in a quarter of the time will be 200
    assert pace.total_steps(50, 25.0) == 200
    assert not pace.is_over(0, 1e9)  # at least one step
    assert pace.is_over(50, 100.0)
    assert math.isclose(rate_share(50, pace.total_steps(50, 25.0), 0.0), rate_share(25, 100, 0.0))
