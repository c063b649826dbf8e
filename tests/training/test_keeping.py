"""Which epoch is the result: the last one, or the best on val, where val is large enough to tell."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_trainings import MACHINE, classifier, images, settings

from transferkit.data.images import Images
from transferkit.metrics.history import History
from transferkit.models.classifier import Classifier
from transferkit.recipe import FinetuneSettings
from transferkit.run import run
from transferkit.runtime.console import SILENT
from transferkit.runtime.context import Context
from transferkit.runtime.errors import TransferkitError
from transferkit.training import checkpoint as state
from transferkit.training import parameter_groups, require_choice, resolved_training, train

STAGES = ["stem", "middle", "dense", "head"]
VAL = images(500, 1)


def swapped(known: Images) -> Images:
    """The same images with the two labels exchanged, so that learning makes val worse."""
    return Images.from_pixels(known.pixels, 1 - known.labels, known.class_names)


def fitted(chosen: FinetuneSettings, val: Images = VAL, folder: Path | None = None) -> tuple[Classifier, History]:
    network = classifier()
    groups = parameter_groups(network, resolved_training(chosen))
    return network, train(
        network, images(), val, resolved_training(chosen), groups, Context(MACHINE, SILENT, 0, folder)
    )


def accuracy(network: Classifier, val: Images) -> float:
    with torch.inference_mode():
        predictions = network.eval()(torch.from_numpy(val.pixels)).argmax(1).numpy()
    return float((predictions == val.labels).mean())


def test_by_default_the_last_epoch_is_kept_and_marked() -> None:
    _, history = fitted(settings(epochs=3))

    assert [record.is_result for record in history] == [False, False, False, True]


def test_best_keeps_the_weights_of_the_epoch_with_the_highest_val_accuracy() -> None:
    network, history = fitted(settings(epochs=6, lr=0.3, keep="best"))

    [kept] = [record for record in history if record.is_result]
    assert kept.val_accuracy == max(record.val_accuracy for record in history)
    assert accuracy(network, VAL) == pytest.approx(kept.val_accuracy)


def test_best_keeps_the_start_where_every_epoch_is_worse() -> None:
    network, history = fitted(settings(epochs=12, lr=0.1, keep="best"), swapped(VAL))

    assert history.start.is_result
    assert history.last.val_accuracy < history.start.val_accuracy
    assert network.digest(STAGES) == classifier().digest(STAGES)


def test_best_of_averaged_weights_is_the_average_of_that_epoch() -> None:
    network, history = fitted(settings(epochs=6, lr=0.3, ema=True, keep="best"))

    [kept] = [record for record in history if record.is_result]
    assert accuracy(network, VAL) == pytest.approx(kept.val_accuracy)


def test_an_interrupted_choice_resumes_to_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = settings(epochs=4, lr=0.1, keep="best")
    whole, whole_history = fitted(chosen, swapped(VAL))  # the best, epoch 0, lies before the stop
    monkeypatch.setattr(state, "SECONDS_BETWEEN_SAVES", 0.0)
    save = state.save

    def save_then_stop(training: state.Training, folder: Path | None) -> None:
        save(training, folder)
        if training.epochs == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(state, "save", save_then_stop)
    with pytest.raises(KeyboardInterrupt):
        fitted(chosen, swapped(VAL), tmp_path)
    monkeypatch.setattr(state, "save", save)
    resumed, history = fitted(chosen, swapped(VAL), tmp_path)

    kept = ("epoch", "loss", "val_accuracy", "val_gained", "val_lost", "is_result")
    assert [[getattr(record, key) for key in kept] for record in history] == [
        [getattr(record, key) for key in kept] for record in whole_history
    ]
    assert resumed.digest(STAGES) == whole.digest(STAGES)


def test_a_val_too_small_to_tell_epochs_apart_is_refused() -> None:
    with pytest.raises(TransferkitError) as error:
        require_choice("best", 499)

    assert str(error.value) == (
        "--keep best chooses the epoch on the val images, of which there are 499: fewer than 500 choose by chance. "
        "Use --keep last, or set more aside with --val-fraction."
    )
    require_choice("best", 500)
    require_choice("last", 0)


def test_a_run_refuses_the_choice_before_any_work(tmp_path: Path) -> None:
    from digits_recipe import digits

    with pytest.raises(TransferkitError, match="of which there are 10: fewer than 500 choose by chance"):
        run(digits(keep="best"), tmp_path / "run", console=SILENT)

    assert not (tmp_path / "run").exists()
