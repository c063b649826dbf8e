"""What the network says is asked once, kept piece by piece, and the same by the fast way as by the plain one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from transferkit.data.images import Images
from transferkit.features import engine, inventory, keys, stored_answers
from transferkit.features.fast_classifier import FastClassifier
from transferkit.features.stored_answers import StoredAnswers
from transferkit.models import backbones
from transferkit.models.classifier import Classifier
from transferkit.ood import rejection
from transferkit.recipe import BackboneSettings
from transferkit.runtime import machine
from transferkit.runtime.console import SILENT, Console
from transferkit.runtime.errors import MachineError

NAMES = ("cat", "dog", "ship")
ALONE = rejection.fit(None)  # goes by the probability alone


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    """Random weights, and BatchNorm statistics of some images, so that folding has something to fold."""
    torch.manual_seed(0)
    settings = BackboneSettings(name="resnet-mini", weights="none")
    made = backbones.load(settings, NAMES, 8, SILENT).train()
    for _ in range(3):
        made(torch.rand(16, 3, 8, 8))
    return made.eval()


@pytest.fixture
def images() -> Images:
    pixels = np.random.default_rng(0).integers(0, 256, (11, 3, 8, 8), dtype=np.uint8)
    return Images.from_pixels(pixels, np.arange(11) % 3, NAMES)


@pytest.fixture
def store(classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StoredAnswers:
    """Pieces of four images, in chunks of two."""
    monkeypatch.setattr(stored_answers, "CHUNK", 2)
    monkeypatch.setattr(stored_answers, "PIECE", 4)
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path))
    return StoredAnswers(classifier, machine.start("cpu", "fp32"), SILENT)


def plain(classifier: Classifier, images: Images) -> np.ndarray:
    with torch.inference_mode():
        found: np.ndarray = classifier(torch.from_numpy(images.pixels)).numpy()
    return found


@pytest.mark.parametrize(("mirror", "shifts"), [(False, False), (True, False), (True, True)])
def test_fast_logits_are_those_of_the_classifier(
    classifier: Classifier, images: Images, mirror: bool, shifts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifier, "averages_mirror", mirror)
    monkeypatch.setattr(classifier, "averages_shifts", shifts)

    fast = FastClassifier(classifier, machine.start("cpu", "fp32"), SILENT)

    np.testing.assert_allclose(fast(torch.from_numpy(images.pixels))[1], plain(classifier, images), atol=1e-5)


def test_outputs_in_pieces_are_those_of_one_pass(store: StoredAnswers, images: Images) -> None:
    found = store.outputs(images, "")

    np.testing.assert_allclose(found.logits, plain(store.classifier, images), atol=1e-5)
    assert found.ids == images.ids
    assert found.features.shape == (11, store.classifier.num_features)


def test_an_image_says_the_same_whatever_its_place(store: StoredAnswers, images: Images) -> None:
    order = np.arange(11)[::-1]

    turned = store.outputs(images.subset(order), "").logits

    np.testing.assert_allclose(turned, store.outputs(images, "").logits[order], atol=1e-5)


def test_a_change_is_told_where_in_the_set_its_images_lie(store: StoredAnswers, images: Images) -> None:
    seen: list[tuple[int, int]] = []

    def noted(pixels: Tensor, first: int) -> Tensor:
        seen.append((first, len(pixels)))
        return 255 - pixels

    found, _ = store.judged(images, noted, "inverted", ALONE)

    inverted = Images.from_pixels(255 - images.pixels, images.labels, NAMES)
    assert seen == [(0, 2), (2, 2), (4, 2), (6, 2), (8, 2), (10, 1)]
    np.testing.assert_allclose(found.logits, plain(store.classifier, inverted), atol=1e-5)


def test_a_stop_loses_no_more_than_a_piece(store: StoredAnswers, images: Images) -> None:
    firsts: list[int] = []

    def stopped(pixels: Tensor, first: int) -> Tensor:
        firsts.append(first)
        if len(firsts) == 4:
            raise KeyboardInterrupt
        return pixels

    with pytest.raises(KeyboardInterrupt):
        store.judged(images, stopped, "same", ALONE)
    assert store.missing(images, "same", ALONE) == 7
    store.judged(images, stopped, "same", ALONE)

    assert firsts == [0, 2, 4, 6, 4, 6, 8, 10]
    assert store.missing(images, "same", ALONE) == 0


@pytest.mark.parametrize("package", ["torch", "torchvision", "timm", "transferkit"])
def test_after_an_upgrade_nothing_old_is_reused(
    store: StoredAnswers, images: Images, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.judged(images, lambda pixels, _: pixels, "same", ALONE)
    newer = {**keys.versions(), package: "99.0"}

    assert store.missing(images, "same", ALONE) == 0
    monkeypatch.setattr(keys, "versions", lambda: newer)
    assert store.missing(images, "same", ALONE) == 11


@pytest.mark.parametrize("package", ["torch", "torchvision", "timm", "transferkit"])
def test_after_an_upgrade_images_pass_through_the_network_again(
    store: StoredAnswers, images: Images, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[int] = []
    monkeypatch.setattr(engine.Engine, "arrays", counting(passes, engine.Engine.arrays))
    newer = {**keys.versions(), package: "99.0"}

    for _ in range(2):
        store.outputs(images, "")
    asked_before = sum(passes)
    monkeypatch.setattr(keys, "versions", lambda: newer)
    store.outputs(images, "")

    assert asked_before == 11
    assert sum(passes) == 22


def counting(passes: list[int], arrays: Callable[..., Any]) -> Callable[..., Any]:
    def counted(self: engine.Engine, pixels: np.ndarray) -> Any:
        passes.append(len(pixels))
        return arrays(self, pixels)

    return counted


def test_the_same_image_at_another_index_is_another_changed_image(store: StoredAnswers, images: Images) -> None:
    thrice = images.subset([3, 3, 3])

    found, _ = store.judged(thrice, lambda pixels, first: pixels // (1 + first), "darker by index", ALONE)

    divisors = np.array([1, 1, 3], np.uint8)[:, None, None, None]  # chunks of two begin at 0 and 2
    darker = Images.from_pixels(images.pixels[[3, 3, 3]] // divisors, None, ())
    np.testing.assert_allclose(found.logits, plain(store.classifier, darker), atol=1e-5)


def test_changes_of_another_image_set_are_not_reused(store: StoredAnswers, images: Images) -> None:
    """What happens to an image may depend on those around it."""
    store.judged(images, lambda pixels, _: pixels, "same", ALONE)

    assert store.missing(images.subset(range(10)), "same", ALONE) == 10


def test_answers_under_another_test_time_augmentation_are_not_reused(
    store: StoredAnswers, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.judged(images, lambda pixels, _: pixels, "same", ALONE)

    monkeypatch.setattr(store.classifier, "averages_mirror", True)

    assert store.missing(images, "same", ALONE) == 11


def test_changed_images_are_judged_by_the_score_that_the_run_ships(store: StoredAnswers, images: Images) -> None:
    """Distances to the very images are zero."""
    own = store.outputs(images, "")
    limits = rejection.fit(None, own)

    _, scores = store.judged(images, lambda pixels, _: pixels, "same", limits)

    np.testing.assert_allclose(scores, limits.scores(own), atol=1e-3)
    assert store.missing(images, "same", limits) == 0
    assert store.missing(images, "same", ALONE) == 11


def test_images_of_classes_unknown_to_the_model_get_its_class_names(store: StoredAnswers, images: Images) -> None:
    others = Images.from_pixels(images.pixels, np.zeros(11), ("stone",))

    found = store.outputs(others, "")

    assert found.class_names == NAMES
    assert found.labels is None  # a stone is none of the three


def test_damaged_weights_are_said_and_nothing_is_kept(store: StoredAnswers, images: Images) -> None:
    weight = store.classifier.get_parameter("head.weight")
    kept = weight.detach().clone()
    with torch.no_grad():
        weight.fill_(float("nan"))

    with pytest.raises(MachineError, match="not finite for 4 of 4 images, first 0"):
        store.judged(images, lambda pixels, _: pixels, "same", ALONE)

    assert inventory.entries() == []
    with torch.no_grad():
        weight.copy_(kept)


def test_compiling_is_weighed_by_the_images_ahead(
    classifier: Classifier, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast = FastClassifier(classifier, machine.start("cpu", "fp32"), Console(quiet=True))
    asked: list[float] = []
    monkeypatch.setattr(fast.engine.network, "compile_if_it_pays", lambda _, seconds: asked.append(seconds))
    fast.engine.images_ahead = 10**9

    for _ in range(engine.LOOK_AFTER + 2):
        fast(torch.from_numpy(images.pixels))

    assert len(asked) == 1
    assert asked[0] > 900  # a billion images never take less
    assert fast.engine.images_ahead == 10**9 - 11 * (engine.LOOK_AFTER + 2)
