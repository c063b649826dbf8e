"""What a run costs: counted by hand for a network of one layer, and measured without touching the test set."""

from __future__ import annotations

import mmap
from pathlib import Path

import pytest
import torch
from small_trainings import MACHINE, classifier, images

from transferkit.data.images import SealedImages, Splits
from transferkit.metrics.history import Epoch, History
from transferkit.recipe import Recipe, parse
from transferkit.runs.facts import ProbeFacts, RunCosts
from transferkit.training import costs as room
from transferkit.training.costs import costs, forget_peak, peak_bytes, prediction_rate
from transferkit.training.methods.fitted import Fitted

# 8 x 8 px: 3 -> 8 and 8 -> 8 features through 3 x 3 windows at 64 places, then 8 -> 6; two operations per multiply-add
FORWARD = 2 * (64 * 27 * 8 + 64 * 72 * 8 + 8 * 6)


def recipe(method: str, **keys: object) -> Recipe:
    return parse({"data": "digits", "backbone": {"name": "resnet20"}, "method": {"name": method, "size": 8, **keys}})


def spent(made_by: Recipe, fitted: Fitted) -> RunCosts:
    splits = Splits(images(48), images(16, 1), SealedImages(images(16, 2)))
    found = costs(made_by, classifier(), splits, fitted, MACHINE, peak=123)
    assert splits.test.openings == 0
    return found


def test_a_training_step_counts_as_three_forward_passes() -> None:
    found = spent(recipe("scratch", batch_size=16), Fitted(None, [], History((Epoch(1, 3), Epoch(2, 5)))))

    assert found.flops_per_image == FORWARD
    assert (found.steps, found.images_trained_on) == (5, 80)
    assert found.training_flops == 3 * FORWARD * 80


def test_a_probe_counts_as_one_pass_over_train_and_val() -> None:
    found = spent(recipe("probe"), Fitted(None, [], probe=ProbeFacts()))

    assert (found.steps, found.training_flops) == (0, FORWARD * (48 + 16))


def test_a_batch_larger_than_the_training_set_is_cut_to_it() -> None:
    found = spent(recipe("scratch", batch_size=128), Fitted(None, [], History((Epoch(1, 2),))))

    assert found.images_trained_on == 96


def test_prediction_is_timed_on_whole_batches_without_changing_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock:
        """Each look is half a second later."""

        now = 0.0

        def perf_counter(self) -> float:
            Clock.now += 0.5
            return Clock.now

    monkeypatch.setattr(room, "time", Clock())
    network = classifier()
    before = {name: value.clone() for name, value in network.state_dict().items()}

    # looks: start at 0.5; a batch of 48 after 1.0, 1.5 and 2.0; at 2.5 the two seconds are over; end at 3.0
    assert prediction_rate(network, images(48), MACHINE) == pytest.approx(3 * 48 / 2.5)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the system does not reset a process's peak")
def test_the_peak_begins_anew_after_it_was_forgotten() -> None:
    with mmap.mmap(-1, 320_000_000) as large:  # past the allocator, which may keep what is freed
        for start in range(0, len(large), 4096):
            large[start] = 1
    before = peak_bytes(MACHINE)

    forget_peak(MACHINE)

    after = peak_bytes(MACHINE)
    assert before is not None
    assert after is not None
    assert before - after > 200_000_000
