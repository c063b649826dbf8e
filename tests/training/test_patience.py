"""Training that ends when val has not been better for some epochs: when, with which weights, and what follows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from digits_recipe import digits
from small_trainings import MACHINE, classifier, images, settings

from transferkit.data.images import Images, SealedImages, Splits
from transferkit.metrics.history import Epoch, History
from transferkit.metrics.outcome import since_start
from transferkit.models.classifier import Classifier
from transferkit.recipe import BackboneSettings, FinetuneSettings
from transferkit.run import run
from transferkit.runtime.console import SILENT
from transferkit.runtime.context import Context
from transferkit.runtime.errors import TransferkitError
from transferkit.training import checkpoint as state
from transferkit.training import defaults, parameter_groups, require_choice, resolved_training, stop_in_words, train
from transferkit.training.early_stopping import is_stopped
from transferkit.training.estimates.work import in_words
from transferkit.training.methods.finetune import fit

VAL = images(500, 1)
STAGES = ["stem", "middle", "dense", "head"]


def swapped(known: Images) -> Images:
    """The same images with the two labels exchanged, so that learning makes val worse."""
    return Images.from_pixels(known.pixels, 1 - known.labels, known.class_names)


def fitted(val: Images = VAL, folder: Path | None = None, **changes: Any) -> tuple[Classifier, History]:
    network, chosen = classifier(), resolved_training(settings(**changes))
    groups = parameter_groups(network, chosen)
    return network, train(network, images(), val, chosen, groups, Context(MACHINE, SILENT, 0, folder))


def log(*accuracies: float) -> History:
    return History(tuple(Epoch(number, val_accuracy=value) for number, value in enumerate(accuracies)))


def test_training_stops_after_so_many_epochs_without_a_better_one() -> None:
    patient = resolved_training(settings(patience=2))

    stopped = [is_stopped(log(*values), patient) for values in ([0.5], [0.5, 0.6, 0.6], [0.5, 0.6, 0.6, 0.5])]

    assert stopped == [False, False, True]  # an equal epoch is no better one


def test_without_patience_nothing_stops() -> None:
    assert not is_stopped(log(0.9, 0.1, 0.1, 0.1), resolved_training(settings()))


def test_best_epoch_is_the_result_and_is_said() -> None:
    network, history = fitted(swapped(VAL), epochs=50, lr=0.1, patience=3)

    assert history.last is not None
    assert history.best is not None
    assert history.last.epoch == history.best.epoch + 3 < 50
    assert [epoch.epoch for epoch in history if epoch.is_result] == [history.best.epoch]
    with torch.inference_mode():
        predictions = network.eval()(torch.from_numpy(VAL.pixels)).argmax(1).numpy()
    right = float((predictions == swapped(VAL).require_labels()).mean())
    assert right == pytest.approx(history.best.val_accuracy)


def test_rates_are_those_of_the_whole_length_until_it_stops() -> None:
    _, whole = fitted(swapped(VAL), epochs=20, lr=0.1)
    _, stopped = fitted(swapped(VAL), epochs=20, lr=0.1, patience=3)

    assert [epoch.lr for epoch in stopped] == [epoch.lr for epoch in whole][: len(stopped)]
    assert len(stopped) < len(whole)


def test_words_say_when_why_and_which_epoch_is_best() -> None:
    patient = resolved_training(settings(patience=2))

    assert stop_in_words(log(0.5, 0.61, 0.6, 0.5), patient) == (
        "stopped after epoch 3: val was not better for 2 epochs (--patience 2); best on val is epoch 1, 61.0 %"
    )
    assert "best on val is the start" in stop_in_words(log(0.5, 0.4, 0.4), patient)
    assert stop_in_words(log(0.5, 0.6), patient) == ""


def test_stopped_training_resumes_to_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys: dict[str, Any] = {"epochs": 50, "lr": 0.1, "patience": 3}
    whole, whole_history = fitted(swapped(VAL), **keys)
    monkeypatch.setattr(state, "SECONDS_BETWEEN_SAVES", 0.0)
    save = state.save

    def save_then_stop(training: state.Training, folder: Path | None) -> None:
        save(training, folder)
        if training.epochs == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(state, "save", save_then_stop)
    with pytest.raises(KeyboardInterrupt):
        fitted(swapped(VAL), tmp_path, **keys)
    monkeypatch.setattr(state, "save", save)
    resumed, history = fitted(swapped(VAL), tmp_path, **keys)
    again, _ = fitted(swapped(VAL), tmp_path, **keys)  # a stop that is over stays over

    assert len(history) == len(whole_history)
    assert resumed.digest(STAGES) == whole.digest(STAGES) == again.digest(STAGES)


def test_a_val_too_small_to_tell_is_refused_with_what_to_type(tmp_path: Path) -> None:
    with pytest.raises(TransferkitError) as error:
        require_choice("last", 499, patience=5)

    assert str(error.value) == (
        "--patience 5 chooses the epoch on the val images, of which there are 499: fewer than 500 choose by chance. "
        "Use no --patience, or set more aside with --val-fraction."
    )
    require_choice("last", 500, patience=5)
    with pytest.raises(TransferkitError, match="--patience 5 chooses the epoch on the val images"):
        run(digits(patience=5), tmp_path / "run", console=SILENT)


def refitted(val: Images, head: str) -> tuple[History, list[str]]:
    """Fine-tuning of the small network with patience, then on train and val together."""
    labelled = Splits(images(48), val, SealedImages(images(2, 9)))
    chosen = settings(epochs=40, lr=0.05, patience=3, refit=True, batchnorm="eval", head=head, head_scale=1.0)
    result = fit(classifier(), labelled, chosen, BackboneSettings(name="resnet20"), Context(MACHINE, SILENT, 0))
    return result.history, list(result.notes)


def noisy(known: Images, share: float) -> Images:
    """Some labels exchanged, so that val cannot become perfect."""
    flipped = np.random.default_rng(3).random(len(known)) < share
    return replace(known, labels=np.where(flipped, 1 - known.require_labels(), known.require_labels()))


def test_refit_trains_as_many_epochs_as_the_best_one() -> None:
    history, notes = refitted(noisy(VAL, 0.2), "random")

    best, known = history.best, since_start(history)
    assert best is not None
    assert known is not None
    assert history.result is history.last
    assert history.judged[-1].epoch == best.epoch + 3
    assert len([epoch for epoch in history if epoch.val_accuracy is None]) == best.epoch >= 1
    assert known.end.epoch == best.epoch
    assert "stopped after epoch" in notes[-2]
    assert notes[-1] == "the result was trained again on all 548 labelled images, val included"


def test_start_that_no_epoch_beats_is_the_result_without_a_refit() -> None:
    history, notes = refitted(noisy(VAL, 0.2), "probe")

    assert history.result is history.start
    assert len(history.judged) == len(history) == 4
    assert "best on val is the start" in notes[-1]


def test_stand_in_of_a_result_that_learnt_from_val_is_the_epoch_it_repeats() -> None:
    first = [Epoch(number, 3 * number, val_accuracy=value) for number, value in enumerate((0.5, 0.7, 0.9, 0.8, 0.8))]
    history = History((*first, Epoch(5, 15), Epoch(6, 18, is_result=True)))

    known = since_start(history)

    assert known is not None
    assert (known.end.epoch, known.end.accuracy, known.is_result) == (2, 0.9, False)


def test_estimate_says_that_the_epochs_are_the_most() -> None:
    method = FinetuneSettings(name="finetune", epochs=30, patience=5, refit=False)

    assert in_words(method) == "up to 30 epochs"


def test_patience_is_written_into_the_resolved_recipe_and_keeps_the_refit() -> None:
    resolved = defaults.resolved(digits(epochs=None, batch_size=None, patience=5), 5000, 8)

    assert isinstance(resolved.method, FinetuneSettings)
    assert (resolved.method.patience, resolved.method.refit) == (5, True)
