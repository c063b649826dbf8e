"""The start as epoch 0: how a training is judged on val before its first step and after every epoch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from small_trainings import MACHINE, classifier, images, settings

from transferkit.data.images import Images
from transferkit.features.fast_classifier import FastClassifier, collect
from transferkit.metrics.classification import accuracy
from transferkit.metrics.history import Epoch, History
from transferkit.metrics.probabilities import nll
from transferkit.models.classifier import Classifier
from transferkit.runtime import machine
from transferkit.runtime.console import SILENT, Console
from transferkit.runtime.context import Context
from transferkit.training import judging, parameter_groups, resolved_training, train
from transferkit.training.checkpoint import Training
from transferkit.training.judging import Judgement


def fitted(val: Images, network: Classifier, console: Console = SILENT, **changes: Any) -> History:
    chosen = resolved_training(settings(**{"epochs": 2, **changes}))
    return train(
        network,
        images(),
        val,
        chosen,
        parameter_groups(network, chosen),
        Context(MACHINE, console, 0),
    )


def test_epoch_0_is_what_the_untrained_network_says_of_val() -> None:
    val = images(16, 1)
    with torch.inference_mode():
        logits = classifier().eval()(torch.from_numpy(val.pixels)).double().numpy()

    start = fitted(val, classifier()).start

    log_probabilities = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    assert (start.epoch, start.step, start.seconds, start.val_images) == (0, 0, 0.0, 16)
    assert start.val_accuracy == (logits.argmax(axis=1) == val.labels).mean()
    assert start.val_loss == pytest.approx(-log_probabilities[np.arange(16), val.labels].mean(), abs=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_start_and_end_are_judged_in_the_form_of_all_other_passes(precision: machine.Precision) -> None:
    runtime, val, network, chosen = (
        replace(MACHINE, precision=precision),
        images(64, 1),
        classifier(),
        resolved_training(settings()),
    )
    start = collect(classifier(), val, runtime, SILENT, "val")

    history = train(
        network,
        images(),
        val,
        chosen,
        parameter_groups(network, chosen),
        Context(runtime, SILENT, 0),
    )

    end = collect(network, val, runtime, SILENT, "val")
    assert history.start.val_accuracy == accuracy(start)
    assert history.last.val_accuracy == accuracy(end)
    assert [history.start.val_loss, history.last.val_loss] == pytest.approx([nll(start), nll(end)], abs=1e-5)


def test_gained_and_lost_images_account_for_the_change_since_the_start() -> None:
    history = fitted(images(16, 1), classifier(), epochs=4)

    for record in history.epochs[1:]:
        difference = record.val_accuracy - history.start.val_accuracy
        assert 16 * difference == pytest.approx(record.val_gained - record.val_lost)


def test_gained_are_right_now_and_were_wrong_and_lost_the_reverse() -> None:
    now = Judgement(torch.tensor([True, True, True, False]), loss=0.5)

    record = now.of(Epoch(1), torch.tensor([True, False, False, True]))

    assert record == Epoch(1, val_accuracy=0.75, val_loss=0.5, val_images=4, val_gained=2, val_lost=1)


def test_without_val_the_history_says_that_nothing_was_judged(capsys: pytest.CaptureFixture[str]) -> None:
    history = fitted(images().subset([]), classifier(), Console())

    assert [(record.val_images, record.val_accuracy, record.val_loss) for record in history] == [(0, None, None)] * 3
    assert "start: not judged, because no images were set aside as val" in capsys.readouterr().err


def test_the_start_is_told_before_the_first_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    history = fitted(images(16, 1), classifier(), Console())

    start, *later = [line for line in capsys.readouterr().err.splitlines() if "val " in line]
    accuracy, loss = 100 * history.start.val_accuracy, history.start.val_loss
    assert start == f"start: val {accuracy:.1f} %, val loss {loss:.3f} (16 images)"
    assert "2 epochs" in later[-1]


def test_judging_the_start_changes_nothing_of_the_training() -> None:
    judged, unjudged = classifier(), classifier()

    with_val, without = fitted(images(16, 1), judged, ema=True), fitted(images().subset([]), unjudged, ema=True)

    assert [record.loss for record in with_val] == [record.loss for record in without]
    assert judged.digest(["stem", "middle", "dense", "head"]) == unjudged.digest(["stem", "middle", "dense", "head"])


@pytest.mark.parametrize("stop", [KeyboardInterrupt, RuntimeError])
def test_a_stop_inside_validation_leaves_no_averaged_weights_in_training(
    stop: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    training = averaged_training()
    before = training.classifier.digest(["stem", "middle", "dense", "head"])

    def stopped(*_: Any) -> None:
        raise stop

    monkeypatch.setattr(FastClassifier, "answers", stopped)
    with pytest.raises(stop):
        judging.judge(training, images(16, 1), MACHINE)

    assert training.classifier.digest(["stem", "middle", "dense", "head"]) == before


def test_the_average_is_judged_where_there_is_one_and_nothing_of_it_is_cloned() -> None:
    training = averaged_training()

    result = judging.result_of(training)

    assert training.average is not None
    assert {name: value.data_ptr() for name, value in result.state_dict().items()} == {
        name: value.data_ptr() for name, value in training.average.items()
    }
    assert not torch.equal(result.head.get_parameter("weight"), training.classifier.head.get_parameter("weight"))


def test_without_an_average_the_network_in_training_is_judged_itself() -> None:
    network = classifier()

    assert judging.result_of(training_of(network, None)) is network


def averaged_training() -> Training:
    network = classifier()
    average = {name: value + 1 if value.is_floating_point() else value for name, value in network.state_dict().items()}
    return training_of(network, average)


def training_of(network: Classifier, average: dict[str, torch.Tensor] | None) -> Training:
    return Training(network, torch.optim.SGD(network.parameters(), lr=0.1), [0.1], average, {})
