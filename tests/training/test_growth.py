"""Images that grow in training: the sides, what is refused, and what an estimate says."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import transferkit
from transferkit.models.classifier import Classifier
from transferkit.models.stored_model import InputSpec
from transferkit.recipe import Recipe, parse
from transferkit.runtime.errors import TransferkitError
from transferkit.training import checkpoint
from transferkit.training.estimates import work
from transferkit.training.growth import cost_share, epoch_px

GROWING: dict[str, Any] = {
    "size": "16->48",
    "epochs": 3,
    "batch_size": 16,
    "limit_per_class": 4,
    "test_fraction": 0.05,
    "quiet": True,
}


def recipe(**keys: Any) -> Recipe:
    return parse(
        {
            "data": "digits",
            "backbone": {"name": "resnet-mini", "weights": "none"},
            "method": {"name": "scratch", **keys},
        }
    )


def test_an_arrow_is_short_for_a_first_and_a_last_size() -> None:
    method = recipe(size="96->160").method

    assert (method.size, method.training and method.training.start_size) == (160, 96)
    assert Recipe.from_yaml(recipe(size="96->160").to_yaml()) == recipe(size=160, start_size=96)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ("160->96", "start_size 160 is not below size 96. Images grow .* write --size '96->160'"),
        ("96-", "the shell took > for a file's name. Write --size '96->160'"),
        ("96->", "method.size"),
    ],
)
def test_what_does_not_grow_is_refused(size: str, message: str) -> None:
    with pytest.raises(TransferkitError, match=message):
        recipe(size=size)


@pytest.mark.parametrize("epochs", [1, 2, 3, 7, 30])
def test_the_last_epoch_has_the_last_size_and_no_epoch_a_smaller_one_than_before(epochs: int) -> None:
    sides = [epoch_px(64, 144, 5 * epoch, 5 * epochs, 5) for epoch in range(epochs)]

    assert sides == sorted(sides)
    assert sides[-1] == 144
    assert sides[0] == (64 if epochs > 1 else 144)


def test_what_it_costs_is_the_mean_over_the_pixels_of_its_epochs() -> None:
    # four epochs of 96 px, growing over three: 96, 96 + 16 (a third of 64 is 21), 96 + 32, 160
    assert cost_share(96, 160, 4) == pytest.approx((96**2 + 112**2 + 128**2 + 160**2) / (4 * 160**2))


def test_only_in_train_mode_images_have_another_size() -> None:
    body = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    classifier = Classifier(body, 3, ("a", "b"), {}, InputSpec(16, (0.0,) * 3, (1.0,) * 3))
    classifier.training_px = 8
    images = torch.zeros(1, 3, 4, 4)

    assert classifier.train().prepare(images).shape[-1] == 8
    assert classifier.eval().prepare(images).shape[-1] == 16


@pytest.mark.slow
def test_a_run_grows_and_ends_at_the_last_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learnt_from: list[int] = []
    judged: set[int] = set()  # val, and the look at the first loss
    prepare = Classifier.prepare

    def watched(self: Classifier, images: torch.Tensor) -> torch.Tensor:
        prepared = prepare(self, images)
        if torch.is_grad_enabled():
            learnt_from.append(prepared.shape[-1])
        else:
            judged.add(prepared.shape[-1])
        return prepared

    monkeypatch.setattr(Classifier, "prepare", watched)
    run = transferkit.scratch("resnet-mini", "digits", out=tmp_path / "run", **GROWING)

    assert [side for side, _ in groupby(learnt_from)] == [16, 32, 48]
    assert judged == {48}
    assert (run.folder.model.input.size, run.model.classifier.training_px) == (48, None)


@pytest.mark.slow
def test_an_interrupted_growth_resumes_at_its_side_to_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = transferkit.scratch("resnet-mini", "digits", out=tmp_path / "whole", **GROWING)
    monkeypatch.setattr(checkpoint, "SECONDS_BETWEEN_SAVES", 0.0)
    save = checkpoint.save

    def save_then_stop(training: checkpoint.Training, path: Path | None) -> None:
        save(training, path)
        if training.epochs == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as interrupted:
        interrupted.setattr(checkpoint, "save", save_then_stop)
        with pytest.raises(KeyboardInterrupt):
            transferkit.scratch("resnet-mini", "digits", out=tmp_path / "run", **GROWING)
    resumed = transferkit.scratch("resnet-mini", "digits", out=tmp_path / "run", resume=True, **GROWING)

    stages = list(whole.model.classifier.stages)
    assert resumed.model.classifier.digest(stages) == whole.model.classifier.digest(stages)


def test_a_network_for_one_size_says_at_which_it_fails(tmp_path: Path) -> None:
    with pytest.raises(TransferkitError, match=r"Images cannot grow from 16 to 32 px: .*16"):
        transferkit.scratch("lenet", "digits", size="16->32", epochs=2, out=tmp_path / "run", quiet=True)


def test_an_estimate_counts_the_smaller_images_and_names_both_sizes() -> None:
    growing, constant = (recipe(size=32, epochs=10, batch_size=64, **more) for more in ({"start_size": 16}, {}))

    seconds = [work._seconds(one, 1000, 0, 0.0, 0.001) for one in (growing, constant)]

    assert seconds[0] / seconds[1] == pytest.approx(cost_share(16, 32, 10))
    assert (work.sizes_in_words(growing), work.sizes_in_words(constant)) == ("16 to 32", "32")
