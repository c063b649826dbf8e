"""Nuisance sweeps: every step is what its name says, and the neutral value changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from transferkit.runtime.errors import TransferkitError
from transferkit.studies.limits import nuisance
from transferkit.studies.limits.nuisance import CHANGES, SWEEPS, changed


@pytest.fixture(scope="module")
def pixels() -> Tensor:
    """(4, 3, 20, 24) uint8, smooth enough to be resampled."""
    rows, columns = torch.arange(20.0)[:, None], torch.arange(24.0)
    waves = [(rows * a / 9).sin() + (columns * b / 11).cos() for a, b in ((1, 2), (3, 1), (2, 2), (1, 3))]
    image = (torch.stack(waves) * 60 + 128).to(torch.uint8)
    return torch.stack([image, image.flip(1), 255 - image], dim=1)


def test_the_sweeps_span_what_is_promised() -> None:
    spans = {name: (sweep.values[0], sweep.values[-1]) for name, sweep in SWEEPS.items()}

    assert spans == {
        "translation_x": (-0.25, 0.25),
        "translation_y": (-0.25, 0.25),
        "scale": (0.5, 2.0),
        "rotation": (10.0, 180.0),
        "centre_crop": (0.5, 0.9),
        "grey_background": (0.5, 0.9),
        "occlusion": (0.1, 0.6),
    }
    assert all(list(sweep.values) == sorted(set(sweep.values)) for sweep in SWEEPS.values())
    assert all(sweep.neutral not in sweep.values for sweep in SWEEPS.values())


@pytest.mark.parametrize("name", CHANGES)
def test_the_neutral_value_changes_nothing_and_every_step_does(name: str, pixels: Tensor) -> None:
    assert torch.equal(changed(pixels, name, CHANGES[name].neutral), pixels)
    for value in CHANGES[name].values:
        assert not torch.equal(changed(pixels, name, value), pixels)


@pytest.mark.parametrize("name", sorted(set(CHANGES) - {"centre_crop"}))
def test_the_size_stays(name: str, pixels: Tensor) -> None:
    for value in CHANGES[name].values:
        assert changed(pixels, name, value).shape == pixels.shape


def test_translation_moves_whole_px_and_repeats_the_edge(pixels: Tensor) -> None:
    right, up = changed(pixels, "translation_x", 0.25), changed(pixels, "translation_y", -0.1)

    assert torch.equal(right[..., 6:], pixels[..., :-6])  # a quarter of 24 px
    assert torch.equal(right[..., :6], pixels[..., :1].expand(-1, -1, -1, 6))
    assert torch.equal(up[..., :-2, :], pixels[..., 2:, :])  # a tenth of 20 px


def test_half_the_size_lies_in_the_middle_with_the_edge_around_it(pixels: Tensor) -> None:
    small = changed(pixels, "scale", 0.5)
    expected = [
        np.asarray(Image.fromarray(image.movedim(0, -1).numpy()).resize((12, 10), Image.Resampling.BILINEAR))
        for image in pixels
    ]

    found = small[:, :, 5:15, 6:18].movedim(1, -1).numpy().astype(int)
    assert np.abs(found - np.stack(expected)).max() <= 1
    assert torch.equal(small[:, :, 5:15, :6], small[:, :, 5:15, 6:7].expand(-1, -1, -1, 6))


def test_twice_the_size_shows_the_middle(pixels: Tensor) -> None:
    large = changed(pixels, "scale", 2.0).float()

    middle = pixels[:, :, 5:15, 6:18].float()
    pooled = torch.nn.functional.avg_pool2d(large, 2)
    assert (pooled - middle)[..., 1:-1, 1:-1].abs().max() < 12  # bilinear smooths the waves
    assert (pooled - middle).abs().mean() < 2


def test_rotation_by_180_degrees_turns_and_by_90_turns_anticlockwise(pixels: Tensor) -> None:
    square = pixels[..., :20]

    assert (changed(pixels, "rotation", 180).int() - pixels.rot90(2, (-2, -1)).int()).abs().max() <= 1
    assert (changed(square, "rotation", 90).int() - square.rot90(1, (-2, -1)).int()).abs().max() <= 1


def test_rotation_equals_pillow_inside_a_rectangle(pixels: Tensor) -> None:
    expected = Image.fromarray(pixels[0].movedim(0, -1).numpy()).rotate(30, Image.Resampling.BILINEAR)

    found = changed(pixels, "rotation", 30)[0].movedim(0, -1).numpy()

    difference = np.abs(found.astype(int) - np.asarray(expected).astype(int))
    assert difference[6:14, 8:16].max() <= 2


def test_a_centre_crop_is_the_middle_itself(pixels: Tensor) -> None:
    assert torch.equal(changed(pixels, "centre_crop", 0.5), pixels[:, :, 5:15, 6:18])


def test_grey_background_and_background_only_are_complements(pixels: Tensor) -> None:
    centre, around = changed(pixels, "grey_background", 0.6), changed(pixels, "background_only", 0.6)
    inside = torch.zeros(20, 24, dtype=torch.bool)
    inside[4:16, 5:19] = True  # 60 % of 20 is 12, of 24 is 14

    assert torch.equal(centre[..., inside], pixels[..., inside])
    assert torch.equal(around[..., ~inside], pixels[..., ~inside])
    assert (centre[..., ~inside] == 128).all()
    assert (around[..., inside] == 128).all()


@pytest.mark.parametrize("share", SWEEPS["occlusion"].values)
def test_occlusion_covers_its_share_at_places_that_differ(share: float) -> None:
    black = torch.zeros(40, 3, 64, 48, dtype=torch.uint8)

    grey = changed(black, "occlusion", share)[:, 0] == 128

    assert abs(float(grey.double().mean()) - share) < 0.02  # sides are whole px
    assert len({tuple(mask.nonzero()[0].tolist()) for mask in grey}) > 10
    rows, columns = grey.any(2).sum(1), grey.any(1).sum(1)
    assert torch.equal(grey.sum((1, 2)), rows * columns)  # one rectangle


def test_occlusion_belongs_to_the_place_in_the_set(pixels: Tensor) -> None:
    images = pixels[:1, :, ::2, ::2].repeat(1_500, 1, 1, 1)
    whole = changed(images, "occlusion", 0.3, seed=4)

    pieces = [changed(images[start : start + 700], "occlusion", 0.3, seed=4, first=start) for start in (0, 700, 1_400)]

    assert torch.equal(torch.cat(pieces), whole)
    assert not torch.equal(whole, changed(images, "occlusion", 0.3, seed=5))


def test_wrong_names_and_values_say_what_is_right(pixels: Tensor) -> None:
    with pytest.raises(TransferkitError, match=r"Unknown nuisance 'rotate'. Did you mean 'rotation'\?"):
        changed(pixels, "rotate", 10)
    for name in ("centre_crop", "grey_background", "occlusion", "background_only", "scale"):
        with pytest.raises(TransferkitError, match=rf"The value of {name} must be .*; got -0.5"):
            nuisance.changed(pixels, name, -0.5)
