"""Mirroring: class names that speak against it, answers that do, and what a person is told."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from transferkit.data.images import Images
from transferkit.data.mirroring import mirrored_images
from transferkit.models.classifier import Classifier
from transferkit.models.stored_model import InputSpec
from transferkit.recipe import from_options
from transferkit.recipe.mirroring import mirroring_in_words, reason_not_to_mirror
from transferkit.runtime import machine
from transferkit.runtime.console import SILENT
from transferkit.runtime.context import Context
from transferkit.training.defaults import resolved
from transferkit.training.methods.mirror_check import loss_by_mirroring

CONTEXT = Context(machine.Runtime(torch.device("cpu"), "fp32", 1), SILENT, 0)


@pytest.mark.parametrize(
    "names",
    [
        ("up", "left", "down", "right"),
        ("turn_left", "stop", "turn_right"),
        ("handLeft", "handRight"),
        ("Pfeil links", "Pfeil rechts"),
        ("linke Hand", "rechte Hand"),
        ("main gauche", "main droite"),
        ("mano-izquierda", "mano-derecha"),
    ],
)
def test_names_that_differ_by_a_side_speak_against_mirroring(names: tuple[str, ...]) -> None:
    assert reason_not_to_mirror(names).endswith("differ by a side")


@pytest.mark.parametrize("names", [("7", "4"), ("a", "B", "é")])
def test_single_characters_speak_against_mirroring(names: tuple[str, ...]) -> None:
    assert reason_not_to_mirror(names) == "the classes are single characters"


@pytest.mark.parametrize(
    "names", [("cat", "dog"), ("left hand", "right foot"), ("leftover", "rightover"), ("a", "bee"), ("left", "centre")]
)
def test_other_names_say_nothing(names: tuple[str, ...]) -> None:
    assert reason_not_to_mirror(names) == ""


@pytest.mark.parametrize("method", ["finetune", "scratch"])
def test_such_names_turn_mirroring_off_unless_the_user_says_otherwise(method: str) -> None:
    def flip(names: tuple[str, ...], **options: bool) -> object:
        recipe = from_options(method, "resnet18", "cifar10", options, ())
        return resolved(recipe, 800, 32, names).method.flip  # type: ignore[attr-defined]

    assert flip(("left", "right")) is False
    assert flip(("left", "right"), flip=True) is True
    assert flip(("cat", "dog")) is True
    assert flip(("cat", "dog"), flip=False) is False


def test_a_person_is_told_with_the_option_that_changes_it() -> None:
    assert mirroring_in_words(True, ("cat", "dog")) == (
        "training mirrors images at random; --no-flip where a mirror image is of another class"
    )
    assert mirroring_in_words(False, ("left", "right")) == (
        "training does not mirror images, because the classes 'left' and 'right' differ by a side; --flip mirrors them"
    )
    assert mirroring_in_words(False, ("cat", "dog")) == ""


class BrighterHalf(nn.Module):
    """Two features: how bright the left and the right half are."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.stack([half.mean((1, 2, 3)) for half in images.chunk(2, 3)], 1)


def judge_of_sides() -> Classifier:
    """Says which half is brighter."""
    classifier = Classifier(BrighterHalf(), 2, ("west", "east"), {}, InputSpec(8, (0.0, 0, 0), (1.0, 1, 1)))
    classifier.set_head(torch.eye(2), torch.zeros(2))
    return classifier


def halves(count: int = 40) -> Images:
    labels = np.arange(count) % 2
    pixels = np.full((count, 3, 8, 8), 50, np.uint8)
    for image, label in zip(pixels, labels, strict=True):
        image[:, :, 4 * label : 4 * label + 4] = 200
    return Images.from_pixels(pixels, labels, ["west", "east"])


def test_a_mirrored_copy_has_its_columns_turned_round() -> None:
    images = halves().subset(range(3, 9))

    mirrored = mirrored_images(images)

    assert np.array_equal(mirrored.pixels, images.pixels[..., ::-1])
    assert (mirrored.ids, list(mirrored.require_labels())) == (images.ids, list(images.require_labels()))


def test_images_that_lose_when_mirrored_lose_more_than_chance() -> None:
    loss = loss_by_mirroring(judge_of_sides(), halves(), CONTEXT)

    assert loss.difference == 1.0  # all right, and all wrong when mirrored
    assert loss.low > 0


def test_images_whose_mirror_images_are_answered_as_well_are_not_told() -> None:
    even = Images.from_pixels(np.full((40, 3, 8, 8), 90, np.uint8), np.arange(40) % 2, ["west", "east"])

    loss = loss_by_mirroring(judge_of_sides(), even, CONTEXT)

    assert (loss.difference, loss.low <= 0) == (0.0, True)
