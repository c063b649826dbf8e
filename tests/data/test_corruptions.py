"""Corruptions: the published constants, independent oracles, and noise that belongs to an image's place in its set."""

from __future__ import annotations

import colorsys
import io
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from scipy import ndimage, stats
from torch import Tensor

from transferkit.data import corruptions
from transferkit.data.corruptions import (
    CORRUPTIONS,
    EXTRAS,
    FAMILIES,
    FAST,
    FIFTEEN,
    SEVERITIES,
    blur,
    corrupt,
    corrupted,
)
from transferkit.data.corruptions.constants import CIFAR, IMAGENET
from transferkit.data.corruptions.digital import affine_sources
from transferkit.data.corruptions.draws import Draws, chunk_length
from transferkit.data.corruptions.noise import poisson_table
from transferkit.data.corruptions.weather import frost_texture, plasma
from transferkit.data.images import Images
from transferkit.runtime.errors import TransferkitError

Array = npt.NDArray[np.float64]
RANDOM = ("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise", "glass_blur", "motion_blur", "snow")
RANDOM += ("frost_synthetic", "fog", "elastic_transform")

PUBLISHED = {  # name: CIFAR | ImageNet-C, severity 1 to 5; from the authors' code at 8190fe3, zoom and elastic apart
    "gaussian_noise": ".04 .06 .08 .09 .10 | .08 .12 .18 .26 .38",
    "shot_noise": "500 250 100 75 50 | 60 25 12 5 3",
    "impulse_noise": ".01 .02 .03 .05 .07 | .03 .06 .09 .17 .27",
    "defocus_blur": ".3,.4 .4,.5 .5,.6 1,.2 1.5,.1 | 3,.1 4,.5 6,.5 8,.5 10,.5",
    "glass_blur": ".05,1,1 .25,1,1 .4,1,1 .25,1,2 .4,1,2 | .7,1,2 .9,2,1 1,2,3 1.1,3,2 1.5,4,2",
    "motion_blur": "6,1 6,1.5 6,2 8,2 9,2.5 | 10,3 15,5 15,8 15,12 20,15",
    "snow": ".1,.2,1,.6,8,3,.95 .1,.2,1,.5,10,4,.9 .15,.3,1.75,.55,10,4,.9 .25,.3,2.25,.6,12,6,.85 "
    ".3,.3,1.25,.65,14,12,.8 | .1,.3,3,.5,10,4,.8 .2,.3,2,.5,12,4,.7 .55,.3,4,.9,12,8,.7 .55,.3,4.5,.85,12,8,.65 "
    ".55,.3,2.5,.85,12,12,.55",
    "frost": "1,.2 1,.3 .9,.4 .85,.4 .75,.45 | 1,.4 .8,.6 .7,.7 .65,.7 .6,.75",
    "fog": ".2,3 .5,3 .75,2.5 1,2 1.5,1.75 | 1.5,2 2,2 2.5,1.7 2.5,1.5 3,1.4",
    "brightness": ".05 .1 .15 .2 .3 | .1 .2 .3 .4 .5",
    "contrast": ".75 .5 .4 .3 .15 | .4 .3 .2 .1 .05",
    "pixelate": ".95 .9 .85 .75 .65 | .6 .5 .4 .3 .25",
    "jpeg_compression": "80 65 58 50 40 | 25 18 15 10 7",
    "speckle_noise": ".06 .1 .12 .16 .2 | .15 .2 .35 .45 .6",
    "gaussian_blur": ".4 .6 .7 .8 1 | 1 2 3 4 6",
    "saturate": ".3,0 .1,0 1.5,0 2,.1 2.5,.2 | .3,0 .1,0 2,0 5,.1 20,.2",
}
# What a severity means there is a mixture of constants that do not all grow; see docs/corruptions.md.
NOT_GROWING = {"glass_blur", "motion_blur", "frost_synthetic", "elastic_transform", "saturate"}


@pytest.fixture(scope="module")
def photographs() -> Tensor:
    """(24, 3, 32, 32) uint8, pieces of the two photographs that come with scikit-learn."""
    from sklearn.datasets import load_sample_images

    pieces = []
    for photograph in load_sample_images().images:
        small = np.asarray(Image.fromarray(photograph).resize((160, 107), Image.Resampling.LANCZOS))
        pieces += [small[y : y + 32, x : x + 32] for y in (0, 35, 70) for x in (0, 40, 80, 120)]
    return torch.from_numpy(np.stack(pieces)).movedim(-1, 1).contiguous()


@pytest.fixture(scope="module")
def large(photographs: Tensor) -> Tensor:
    """(1, 3, 144, 128) uint8: not square, and at ImageNet-C's constants."""
    pieces = [Image.fromarray(image.movedim(0, -1).numpy()).resize((128, 144)) for image in photographs[5:6]]
    return torch.from_numpy(np.stack([np.asarray(piece) for piece in pieces])).movedim(-1, 1).contiguous()


def draws(count: int, seed: int = 0) -> Draws:
    return Draws(torch.Generator().manual_seed(seed), count, slice(0, count), torch.device("cpu"))


def unit(images: Tensor) -> Array:
    """(N, H, W, 3) in [0, 1], as the authors' code sees images."""
    array: Array = images.movedim(1, -1).numpy() / 255.0
    return array


def cut(values: Array) -> Tensor:
    """The authors' last step, (N, H, W, 3) -> (N, 3, H, W) uint8."""
    return torch.from_numpy(np.uint8(np.clip(values, 0, 1) * 255)).movedim(-1, 1)


def furthest(first: Tensor, second: Tensor) -> int:
    return int((first.int() - second.int()).abs().max())


# ------------------------------------------------------------------------------------------------- constants


def parsed(text: str) -> tuple[object, ...]:
    def entry(word: str) -> object:
        numbers = tuple(float(number) for number in word.split(","))
        return numbers if len(numbers) > 1 else numbers[0]

    return tuple(entry(word) for word in text.split())


@pytest.mark.parametrize("name", PUBLISHED)
def test_constants_are_the_published_ones(name: str) -> None:
    small, large_ = PUBLISHED[name].split("|")

    assert CIFAR[name] == parsed(small)
    assert IMAGENET[name] == parsed(large_)


def test_counts_among_the_constants_are_whole_numbers() -> None:
    for table in (CIFAR, IMAGENET):
        assert all(isinstance(quality, int) for quality in table["jpeg_compression"])
        assert all(isinstance(count, int) for _, *counts in table["glass_blur"] for count in counts)
        assert all(isinstance(radius, int) for radius, _ in table["motion_blur"])
        assert all(isinstance(entry[4], int) for entry in table["snow"])


def test_zoom_factors_are_those_of_the_floating_point_ranges() -> None:
    small = [np.arange(1, end, 0.01) for end in (1.06, 1.11, 1.16, 1.21, 1.26)]
    large_ = [np.arange(1, end, step) for end, step in ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02))]
    large_.append(np.arange(1, 1.31, 0.03))

    assert [len(factors) for factors in CIFAR["zoom_blur"]] == [7, 12, 16, 21, 26]
    for table, expected in ((CIFAR, small), (IMAGENET, large_)):
        for factors, published in zip(table["zoom_blur"], expected, strict=True):
            np.testing.assert_array_equal(factors, published)


def test_elastic_constants_give_the_published_pixels() -> None:
    small = ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03))
    large_ = ((2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02))

    assert CIFAR["elastic_transform"] == small
    np.testing.assert_allclose(np.array(IMAGENET["elastic_transform"]) * 224, np.array(large_) * 244)


def test_the_menu_has_fifteen_in_four_families_and_three_extras() -> None:
    families = [CORRUPTIONS[name].family for name in FIFTEEN]

    assert len(FIFTEEN) == 15
    assert {family: families.count(family) for family in FAMILIES} == dict(zip(FAMILIES, (3, 4, 4, 4), strict=True))
    assert EXTRAS == ("speckle_noise", "gaussian_blur", "saturate")
    assert {CORRUPTIONS[name].family for name in FAST} == set(FAMILIES)
    assert all(len(entry.cifar) == len(entry.imagenet) == 5 for entry in CORRUPTIONS.values())


# ------------------------------------------------------------------------------------------------- contracts


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_gives_other_pixels_of_the_same_shape_and_leaves_its_input(name: str, photographs: Tensor) -> None:
    before = photographs.clone()

    changed = corrupt(photographs[:4], name, 5)

    assert changed.shape == photographs[:4].shape
    assert changed.dtype == torch.uint8
    assert not torch.equal(changed, photographs[:4])
    assert torch.equal(photographs, before)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_large_rectangular_images_are_corrupted_at_every_severity(name: str, large: Tensor) -> None:
    for severity in (1, 5):
        changed = corrupt(large, name, severity)

        assert changed.shape == large.shape
        assert not torch.equal(changed, large)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_images_of_eight_px_and_black_ones_are_corrupted_without_fault(name: str) -> None:
    images = torch.zeros(2, 3, 8, 9, dtype=torch.uint8)
    images[1] = torch.arange(72).view(8, 9) * 3

    for severity in SEVERITIES:
        assert corrupt(images, name, severity).shape == images.shape


@pytest.mark.parametrize("name", sorted(set(CORRUPTIONS) - NOT_GROWING))
def test_the_change_grows_with_severity(name: str, photographs: Tensor) -> None:
    changes = [(corrupt(photographs, name, s).float() - photographs.float()).abs().mean() for s in SEVERITIES]

    assert changes == sorted(changes)
    assert changes[4] > 1.3 * changes[0]


@pytest.mark.parametrize("name", RANDOM)
def test_noise_depends_on_seed_and_place_alone(name: str, photographs: Tensor) -> None:
    same = photographs[:1].expand(3, -1, -1, -1)

    changed = corrupt(same, name, 3, seed=1)

    assert torch.equal(changed, corrupt(same, name, 3, seed=1))
    assert not torch.equal(changed, corrupt(same, name, 3, seed=2))
    assert not torch.equal(changed[0], changed[1])


def test_a_seed_gives_the_same_pixels_on_every_day() -> None:
    grey = torch.full((1, 3, 8, 8), 128, dtype=torch.uint8)

    assert corrupt(grey, "gaussian_noise", 1)[0, 0, 0, :4].tolist() == [128, 128, 145, 131]  # as first made, torch 2.15


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_pieces_of_a_set_are_corrupted_as_the_whole(name: str, photographs: Tensor) -> None:
    images = photographs[:, :, ::4, ::4].repeat(46, 1, 1, 1)  # 1,104 of 8 px; a chunk of 1,000 and some
    whole = corrupt(images, name, 4)

    pieces = [corrupt(images[start : start + 700], name, 4, first=start) for start in (0, 700)]

    assert torch.equal(torch.cat(pieces), whole)


@pytest.mark.parametrize(("side", "length"), [(32, 1_000), (64, 1_000), (65, 50), (512, 50), (513, 1)])
def test_fewer_large_images_share_a_generator(side: int, length: int) -> None:
    assert chunk_length(side, side) == length


def test_one_image_does_not_change_the_noise_of_the_next(photographs: Tensor) -> None:
    other = photographs.clone()
    other[0] = 0

    for name in RANDOM:
        assert torch.equal(corrupt(photographs[:2], name, 5)[1], corrupt(other[:2], name, 5)[1])


def test_an_image_set_keeps_labels_and_ids(photographs: Tensor) -> None:
    images = Images.from_pixels(photographs.numpy(), np.arange(24) % 2, ("a", "b"), [f"x{i}" for i in range(24)])
    chosen = images.subset([3, 5, 7])

    changed = corrupted(chosen, "fog", 2, seed=9)

    assert changed.ids == ("x3", "x5", "x7")
    assert changed.labels.tolist() == [1, 1, 1]
    np.testing.assert_array_equal(changed.pixels, corrupt(photographs[[3, 5, 7]], "fog", 2, seed=9).numpy())
    assert changed.fingerprint != chosen.fingerprint


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("fogg", 1), "Unknown corruption 'fogg'. Did you mean 'fog'?"),
        (("fog", 0), "Severity is 1, 2, 3, 4 or 5; got 0."),
        (("fog", 6), "Severity is 1, 2, 3, 4 or 5; got 6."),
    ],
)
def test_wrong_names_and_severities_say_what_is_right(
    arguments: tuple[str, int], message: str, photographs: Tensor
) -> None:
    with pytest.raises(TransferkitError) as raised:
        corrupt(photographs, *arguments)

    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(2, 3, 32, 32), "need uint8 pixels of shape (N, 3, H, W); got torch.float32 (2, 3, 32, 32)"),
        (torch.zeros(2, 32, 32, 3, dtype=torch.uint8), "got torch.uint8 (2, 32, 32, 3)"),
        (torch.zeros(2, 3, 7, 32, dtype=torch.uint8), "at least 8 px on both sides; got (7, 32)"),
    ],
)
def test_wrong_pixels_say_what_came(images: Tensor, message: str) -> None:
    with pytest.raises(TransferkitError) as raised:
        corrupt(images, "fog", 1)

    assert message in str(raised.value)


# ------------------------------------------------------------------------------------------------- noise


def grey(level: int, side: int = 150) -> Tensor:
    return torch.full((1, 3, side, side), level, dtype=torch.uint8)  # 67,500 values


def test_gaussian_noise_has_the_published_deviation() -> None:
    values = corrupt(grey(128, 100), "gaussian_noise", 5).double()  # 30,000 values at sigma .10, cut down to levels

    # truncation to levels subtracts 1/2 on average and adds a variance of 1/12
    assert abs(values.mean() - (128 - 0.5)) < 4 * 25.5 / math.sqrt(30_000)
    assert abs(values.std() / math.sqrt(25.5**2 + 1 / 12) - 1) < 4 / math.sqrt(2 * 30_000)


def test_speckle_noise_grows_with_the_value() -> None:
    dark, bright = (corrupt(grey(level, 100), "speckle_noise", 2).double().std() for level in (60, 120))

    assert abs(dark - 6.0) < 4 * 6 / math.sqrt(60_000) + 0.01  # .1 * 60
    assert abs(bright - 12.0) < 4 * 12 / math.sqrt(60_000) + 0.01


def test_shot_noise_draws_poisson_counts() -> None:
    photons = 60  # of a white pixel, ImageNet-C at severity 1; 67,500 values at 150 px
    values = corrupt(grey(102), "shot_noise", 1).flatten()  # 102 / 255 * 60 = 24 photons on average
    counts = torch.arange(0, photons)
    level = (counts / photons * 255 + 1e-3).floor().to(torch.uint8)  # distinct, so that counts can be read off levels
    seen = np.array([(values == number).sum() for number in level])

    expected = stats.poisson.pmf(counts.numpy(), 24) * len(values)
    enough = expected > 10
    assert stats.chisquare(seen[enough], expected[enough] / expected[enough].sum() * seen[enough].sum()).pvalue > 1e-3


def test_the_poisson_table_is_scipys_distribution_function() -> None:
    table, counts = poisson_table(500)
    rows = table.view(256, counts) - torch.arange(256)[:, None]

    for level in (0, 1, 128, 255):
        expected = stats.poisson.cdf(np.arange(counts), level / 255 * 500)
        np.testing.assert_allclose(rows[level], expected, atol=1e-12)


def test_black_stays_black_under_shot_noise() -> None:
    assert corrupt(grey(0, 32), "shot_noise", 5).max() == 0


def test_impulse_noise_is_half_salt_half_pepper_per_value() -> None:
    values = corrupt(grey(100, 100), "impulse_noise", 5)  # 30,000 values, .07 of them
    share = 0.07 / 2
    tolerance = 4 * math.sqrt(share * (1 - share) / 30_000)

    assert abs((values == 255).double().mean() - share) < tolerance
    assert abs((values == 0).double().mean() - share) < tolerance
    assert ((values == 100) | (values == 0) | (values == 255)).all()
    assert (values.amax(1) != values.amin(1)).double().mean() > 0.15  # of a pixel, one channel without the others


# ------------------------------------------------------------------------------------------------- blur


def scipy_gaussian(images: Array, sigma: float) -> Array:
    """scikit-image's gaussian with its defaults."""
    return np.stack([ndimage.gaussian_filter(image, (sigma, sigma, 0), mode="nearest", truncate=4) for image in images])


@pytest.mark.parametrize("severity", SEVERITIES)
def test_gaussian_blur_equals_scipy(severity: int, photographs: Tensor) -> None:
    expected = cut(scipy_gaussian(unit(photographs), CIFAR["gaussian_blur"][severity - 1]))

    assert furthest(corrupt(photographs, "gaussian_blur", severity), expected) <= 1


@pytest.mark.parametrize("severity", SEVERITIES)
def test_defocus_blur_equals_a_mirrored_convolution_with_the_authors_kernel(severity: int, photographs: Tensor) -> None:
    radius, alias = CIFAR["defocus_blur"][severity - 1]
    kernel = authors_disk(radius, alias)
    images = unit(photographs[:6])
    expected = np.stack([ndimage.correlate(image, kernel[..., None], mode="mirror") for image in images])

    assert furthest(corrupt(photographs[:6], "defocus_blur", severity), cut(expected)) <= 1


def authors_disk(radius: float, alias: float) -> Array:
    """17 x 17 (or wider) taps, smoothed over 3 x 3 (5 x 5), spelled out."""
    reach, smoothing = (8, 1) if radius <= 8 else (int(radius), 2)
    inside = np.array(
        [[float(x * x + y * y <= radius**2) for x in range(-reach, reach + 1)] for y in range(-reach, reach + 1)]
    )
    window = np.array([math.exp(-(i**2) / (2 * alias**2)) for i in range(-smoothing, smoothing + 1)])
    window = np.outer(window, window) / window.sum() ** 2
    smooth: Array = ndimage.correlate(inside / inside.sum(), window, mode="mirror")
    return smooth


@pytest.mark.parametrize("constants", IMAGENET["defocus_blur"])
def test_large_defocus_kernels_are_the_authors_without_the_empty_margin(constants: tuple[float, float]) -> None:
    kernel, expected = blur.disk(*constants).numpy(), authors_disk(*constants)
    margin = (len(expected) - len(kernel)) // 2

    np.testing.assert_allclose(np.pad(kernel, margin), expected, atol=1e-8)


@pytest.mark.parametrize("distance", [1, 2, 4])
def test_glass_blur_copies_one_way_as_the_loop_over_views_does(distance: int) -> None:
    height, width = 14, 12
    offsets = draws(2).integers(-distance, distance, 2, height - 2 * distance, width - 2 * distance)
    image = np.random.default_rng(0).integers(0, 256, (2, height, width, 3)).astype(np.uint8)

    found = blur.copied_from(offsets, height, width, distance)

    for index in range(2):
        x = image[index].copy()
        for h in range(height - distance, distance, -1):
            for w in range(width - distance, distance, -1):
                dy, dx = offsets[index, :, h - distance - 1, w - distance - 1].tolist()
                x[h, w], x[h + dy, w + dx] = x[h + dy, w + dx], x[h, w]
        np.testing.assert_array_equal(image[index].reshape(-1, 3)[found[index]], x.reshape(-1, 3))


def test_glass_blur_of_small_images_looks_up_and_left_only() -> None:
    offsets = draws(50).integers(-1, 1, 2, 30, 30)

    assert sorted(set(offsets.flatten().tolist())) == [-1, 0]  # randint(-1, 1) excludes 1


def test_a_glass_blur_whose_sigma_blurs_nothing_only_moves_pixels(photographs: Tensor) -> None:
    changed = corrupt(photographs[:1], "glass_blur", 1)  # sigma .05: no tap beside the centre

    before = {tuple(pixel) for pixel in photographs[0].flatten(1).T.tolist()}
    assert {tuple(pixel) for pixel in changed[0].flatten(1).T.tolist()} <= before
    assert torch.equal(changed[0, :, :2], photographs[0, :, :2])  # the first two rows are never visited


def slow_motion_blur(image: Array, angle: float, radius: int, sigma: float) -> Array:
    """ImageMagick's loop over pixels and taps, one channel."""
    height, width = image.shape
    weights = [math.exp(-(i**2) / (2 * sigma**2)) for i in range(2 * radius + 1)]
    sine, cosine = math.sin(math.radians(angle)), math.cos(math.radians(angle))
    blurred = np.zeros_like(image)
    for y in range(height):
        for x in range(width):
            for i, weight in enumerate(weights):
                row = min(max(y + math.ceil(i * sine - 0.5), 0), height - 1)
                column = min(max(x + math.ceil(i * cosine - 0.5), 0), width - 1)
                blurred[y, x] += weight / sum(weights) * image[row, column]
    return blurred


@pytest.mark.parametrize(("angle", "radius", "sigma"), [(0.0, 6, 1.0), (33.3, 9, 2.5), (-45.0, 8, 2.0), (-120, 14, 12)])
def test_motion_blur_equals_a_loop_over_pixels_and_taps(
    angle: float, radius: int, sigma: float, photographs: Tensor
) -> None:
    image = photographs[:1, :, 6:22, 3:20]

    found = blur.motion_blurred(image / 255, torch.tensor([angle]), radius, sigma) * 255

    for channel in range(3):
        expected = slow_motion_blur(image[0, channel].double().numpy(), angle, radius, sigma)
        lost = expected - found[0, channel].numpy()  # cut to whole levels, after rounding to 1/257 of one
        assert lost.min() >= -0.5 / 257 - 1e-3
        assert lost.max() < 1


def test_motion_blur_smears_to_one_side() -> None:
    dot = torch.zeros(1, 1, 9, 9)
    dot[..., 4, 4] = 1

    row = blur.motion_blurred(dot, torch.zeros(1), 3, 1.0)[0, 0, 4]

    assert row[5:].max() == 0  # a pixel looks to the right, so the dot appears to its left
    assert (row[1:4].diff() > 0).all()


def clipped_zoom(image: Array, factor: float) -> Array:
    height = image.shape[0]
    crop = int(np.ceil(height / factor))
    top = (height - crop) // 2
    zoomed = ndimage.zoom(image[top : top + crop, top : top + crop], (factor, factor, 1), order=1)
    trim = (zoomed.shape[0] - height) // 2
    return zoomed[trim : trim + height, trim : trim + height]


@pytest.mark.parametrize("severity", SEVERITIES)
def test_zoom_blur_equals_scipy_zoom(severity: int, photographs: Tensor) -> None:
    factors = np.arange(1, [1.06, 1.11, 1.16, 1.21, 1.26][severity - 1], 0.01)

    expected = [
        (x + sum(clipped_zoom(x, factor) for factor in factors)) / (len(factors) + 1) for x in unit(photographs[::3])
    ]

    assert furthest(corrupt(photographs[::3], "zoom_blur", severity), cut(np.stack(expected))) <= 1


# ------------------------------------------------------------------------------------------------- weather


def through_hsv(images: Array, change: Callable[[float, float, float], tuple[float, float, float]]) -> Array:
    pixels = [colorsys.hsv_to_rgb(*change(*colorsys.rgb_to_hsv(*pixel))) for pixel in images.reshape(-1, 3)]
    return np.array(pixels).reshape(images.shape)


@pytest.mark.parametrize("severity", [1, 5])
def test_brightness_equals_colorsys(severity: int, photographs: Tensor) -> None:
    added = CIFAR["brightness"][severity - 1]

    expected = through_hsv(unit(photographs[:6]), lambda h, s, v: (h, s, min(v + added, 1)))

    assert furthest(corrupt(photographs[:6], "brightness", severity), cut(expected)) <= 1


@pytest.mark.parametrize("severity", SEVERITIES)
def test_saturate_equals_colorsys(severity: int, photographs: Tensor) -> None:
    factor, summand = CIFAR["saturate"][severity - 1]
    images = photographs[:6].clone()
    images[0, :, :8] = images[0, :1, :8]  # some grey pixels, which have hue 0

    expected = through_hsv(unit(images), lambda h, s, v: (h, min(s * factor + summand, 1), v))

    assert furthest(corrupt(images, "saturate", severity), cut(expected)) <= 1


def test_snow_is_white_and_turned_by_half() -> None:
    black = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)

    changed = corrupt(black, "snow", 3).int()

    # whitening of black: (1 - .9) * .5 = .05 = 12 levels; flakes plus flakes turned by 180 degrees are symmetric
    assert changed.min() == 12
    assert torch.equal(changed, changed.rot90(2, (-2, -1)))
    assert torch.equal(changed[:, 0], changed[:, 1])


def test_snow_without_flakes_whitens_by_the_published_formula(photographs: Tensor) -> None:
    x = unit(photographs[:4])
    grey_part = (x @ [0.299, 0.587, 0.114])[..., None] * 1.5 + 0.5
    constants = (-9.0, 0.2, 1, 0.6, 8, 3, 0.9)  # flakes of mean -9 never pass the threshold

    changed = CORRUPTIONS["snow"].change(photographs[:4] / 255, constants, draws(4))

    expected = 0.9 * x + 0.1 * np.maximum(x, grey_part)
    np.testing.assert_allclose(changed.movedim(1, -1), expected, atol=1e-6)


def literal_plasma(side: int, decay: float, generator: np.random.Generator) -> Array:
    """The diamond-square algorithm, point by point."""
    heights = np.zeros((side, side))
    step, wibble = side, 100.0
    while step >= 2:
        half = step // 2

        def mean_of(points: list[tuple[int, int]], wibble: float = wibble) -> float:
            mean = sum(heights[y % side, x % side] for y, x in points) / 4
            return float(mean + wibble * generator.uniform(-wibble, wibble))

        for y in range(0, side, step):
            for x in range(0, side, step):
                corners = [(y, x), (y + step, x), (y, x + step), (y + step, x + step)]
                heights[y + half, x + half] = mean_of(corners)
        for y in range(0, side, step):
            for x in range(0, side, step):
                right, below = (y, x + half), (y + half, x)
                for at_y, at_x in (right, below):
                    around = [(at_y - half, at_x), (at_y + half, at_x), (at_y, at_x - half), (at_y, at_x + half)]
                    heights[at_y, at_x] = mean_of(around)
        step, wibble = half, wibble / decay
    heights -= heights.min()
    scaled: Array = heights / heights.max()
    return scaled


@pytest.mark.parametrize("decay", [3, 1.75])
def test_the_clouds_of_fog_have_the_statistics_of_the_literal_algorithm(decay: float) -> None:
    generator = np.random.default_rng(0)
    expected = np.stack([literal_plasma(16, decay, generator) for _ in range(60)])
    found = plasma(draws(2_000), 16, decay).double().numpy()

    for statistic in (np.mean, np.std, lambda cloud: np.abs(np.diff(cloud, axis=-1)).mean()):
        slow, fast = (np.array([statistic(cloud) for cloud in clouds]) for clouds in (expected, found))
        assert abs(slow.mean() - fast.mean()) < 4 * slow.std() / math.sqrt(len(slow))
    assert found.min() == 0
    assert found.max() == 1


def test_fog_keeps_the_brightest_value_at_most(photographs: Tensor) -> None:
    foggy = corrupt(photographs, "fog", 5)

    assert (foggy.amax(dim=(1, 2, 3)) <= photographs.amax(dim=(1, 2, 3))).all()
    assert corrupt(torch.zeros(1, 3, 32, 32, dtype=torch.uint8), "fog", 5).max() == 0


def test_drawn_frost_is_bluish_and_neither_empty_nor_full() -> None:
    frost = frost_texture(draws(100), 32, 32)

    assert 0.3 < frost.mean() < 0.7
    assert frost.flatten(1).std(dim=1).mean() > 0.1
    assert (frost[:, 2] >= frost[:, 0]).all()


def test_frost_photographs_are_used_where_the_user_has_them(tmp_path: Path) -> None:
    for index, name in enumerate(("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg")):
        Image.new("RGB", (400, 300), (40 * index, 40 * index, 40 * index)).save(tmp_path / name, quality=100)

    menu = corruptions.with_frost_photographs(tmp_path)
    changed = corrupt(torch.zeros(400, 3, 8, 8, dtype=torch.uint8), "frost", 5, menu=menu)

    levels, counts = changed[:, 0, 0, 0].unique(return_counts=True)
    assert levels.tolist() == [int(0.45 * 40 * index) for index in range(5)]  # share of frost .45, of the image .75
    assert counts.min() > 40  # of 400, each photograph about 80 times
    assert "frost_synthetic" not in menu
    assert list(menu).index("frost") == FIFTEEN.index("frost_synthetic")


def test_missing_frost_photographs_are_named(tmp_path: Path) -> None:
    with pytest.raises(TransferkitError, match=r"Cannot read .*frost1\.png.*must hold frost1\.png, frost2\.png"):
        corruptions.with_frost_photographs(tmp_path)


# ------------------------------------------------------------------------------------------------- digital


@pytest.mark.parametrize("severity", SEVERITIES)
def test_contrast_equals_the_published_line(severity: int, photographs: Tensor) -> None:
    remaining, x = CIFAR["contrast"][severity - 1], unit(photographs)
    means = x.mean(axis=(1, 2), keepdims=True)

    assert furthest(corrupt(photographs, "contrast", severity), cut((x - means) * remaining + means)) <= 1


@pytest.mark.parametrize("severity", SEVERITIES)
def test_pixelate_equals_pillows_box_filter(severity: int, photographs: Tensor) -> None:
    side = int(32 * CIFAR["pixelate"][severity - 1])
    pictures = [Image.fromarray(image.movedim(0, -1).numpy()) for image in photographs]
    small = [picture.resize((side, side), Image.Resampling.BOX) for picture in pictures]
    expected = np.stack([np.asarray(picture.resize((32, 32), Image.Resampling.BOX)) for picture in small])

    assert furthest(corrupt(photographs, "pixelate", severity), torch.from_numpy(expected).movedim(-1, 1)) <= 1


@pytest.mark.parametrize("severity", SEVERITIES)
def test_jpeg_is_that_of_pillow_bit_by_bit(severity: int, photographs: Tensor) -> None:
    expected = []
    for image in photographs:
        file = io.BytesIO()
        Image.fromarray(image.movedim(0, -1).numpy()).save(
            file, "JPEG", quality=CIFAR["jpeg_compression"][severity - 1]
        )
        expected.append(np.asarray(Image.open(file)))

    found = corrupt(photographs, "jpeg_compression", severity)

    assert torch.equal(found, torch.from_numpy(np.stack(expected)).movedim(-1, 1))


def test_the_affine_part_of_elastic_without_shift_changes_nothing() -> None:
    found = affine_sources(draws(5), 32, 32, shift=0.0)

    rows, columns = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    torch.testing.assert_close(found, torch.stack([columns, rows], -1).expand_as(found), atol=1e-4, rtol=0)


def test_the_affine_part_of_elastic_undoes_the_shift_of_its_three_points() -> None:
    shifts = draws(10).uniform(3, 2, low=-2.56, high=2.56).double().numpy()
    sources = affine_sources(draws(10), 32, 32, shift=2.56).double().numpy()
    points = np.array([[26, 26], [26, 6], [6, 6]])  # centre 16, a third of the side is 10; x before y

    for shift, source in zip(shifts, sources, strict=True):
        for point, moved in zip(points, points + shift, strict=True):
            found = [ndimage.map_coordinates(source[..., axis], moved[::-1, None], order=1)[0] for axis in (0, 1)]
            np.testing.assert_allclose(found, point, atol=1e-3)  # the map is affine, so between pixels it is linear


def test_elastic_displacement_is_that_of_scipys_smoothed_noise(photographs: Tensor) -> None:
    constants = (0.1, 0.03, 0.0)  # no affine part
    image = photographs[:1] / 255
    generator = draws(1)
    generator.uniform(3, 2)
    noise = generator.uniform(2, 32, 32, low=-1, high=1)[0].double().numpy()
    shift_x, shift_y = (ndimage.gaussian_filter(n, 0.96, mode="reflect", truncate=3) * 3.2 for n in noise)
    rows, columns = np.mgrid[:32, :32]

    found = CORRUPTIONS["elastic_transform"].change(image, constants, draws(1))[0]

    for channel in range(3):
        places = rows + shift_y, columns + shift_x
        expected = ndimage.map_coordinates(image[0, channel].double(), places, order=1, mode="reflect")
        np.testing.assert_allclose(found[channel], expected, atol=2e-3)


# ------------------------------------------------------------------------------------------------- the authors' files

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like the unpacked CIFAR-10-C; one value of image 7 at severity s is 7 + s."""
    folder = tmp_path_factory.mktemp("CIFAR-10-C")
    labels = np.tile(np.arange(10_000) % 10, 5)
    file = np.lib.format.open_memmap(folder / "fog.npy", "w+", np.uint8, (50_000, 32, 32, 3))
    file[7::10_000, 3, 5, 1] = 7 + np.arange(1, 6)  # the rest is a hole in the file
    file.flush()
    np.save(folder / "labels.npy", labels)
    return folder


def clean(labels: npt.NDArray[np.int64], names: tuple[str, ...] = CLASSES) -> Images:
    pixels = np.zeros((len(labels), 3, 8, 8), dtype=np.uint8)
    return Images.from_pixels(pixels, labels, names, [f"test/{index:05d}" for index in range(len(labels))])


def test_stored_files_give_the_severity_asked_for(stored: Path) -> None:
    images = corruptions.load_cifar10c(stored, "fog", 3, clean(np.arange(10_000) % 10))

    assert len(images) == 10_000
    assert images.pixels[7, 1, 3, 5] == 10  # image 7, green, row 3, column 5; 7 + severity 3
    assert images.pixels[7].sum() == 10
    assert images.ids[7] == "test/00007"
    assert images.labels[:3].tolist() == [0, 1, 2]


def test_stored_labels_follow_the_class_names_of_the_model(stored: Path) -> None:
    images = corruptions.load_cifar10c(stored, "fog", 1, clean(9 - np.arange(10_000) % 10, CLASSES[::-1]))

    assert images.labels[:3].tolist() == [9, 8, 7]
    assert images.class_names[9] == "airplane"


def test_a_test_set_in_another_order_is_accepted_with_ids_that_do_not_meet(stored: Path) -> None:
    test = Images.from_pixels(np.zeros((10_000, 3, 8, 8), np.uint8), np.sort(np.arange(10_000) % 10), CLASSES)

    images = corruptions.load_cifar10c(stored, "fog", 1, test)

    assert not set(images.ids) & set(test.ids)


def failed(folder: Path, name: str, severity: int, test: Images) -> str:
    with pytest.raises(TransferkitError) as raised:
        corruptions.load_cifar10c(folder, name, severity, test)
    return str(raised.value)


def test_a_test_set_that_is_not_the_files_is_refused(stored: Path) -> None:
    labels = np.arange(10_000) % 10
    swapped = labels.copy()
    swapped[:2] = [1, 0]

    assert "differ for 2 of 10,000 images" in failed(stored, "fog", 1, clean(swapped))
    assert "the test set has 500, 50 to 50 per class" in failed(stored, "fog", 1, clean(labels[:500]))
    assert "of use for models of CIFAR-10 only" in failed(stored, "fog", 1, clean(labels % 2, ("cat", "dog")))


def test_missing_and_damaged_files_say_what_to_do(stored: Path, tmp_path: Path) -> None:
    test = clean(np.arange(10_000) % 10)
    np.save(tmp_path / "labels.npy", np.tile(test.labels, 5))
    np.save(tmp_path / "fog.npy", np.zeros((100, 32, 32, 3), np.uint8))
    np.save(tmp_path / "snow.npy", np.array([{"code": 1}]), allow_pickle=True)
    (tmp_path / "frost.npy").write_bytes(b"\x93NUMPY\x01\x00")

    assert "has no fogg.npy. Did you mean 'fog'? Available: fog." in failed(stored, "fogg", 1, test)
    assert "holds uint8 (100, 32, 32, 3); expected uint8 (50000, 32, 32, 3)" in failed(tmp_path, "fog", 1, test)
    assert "Get it anew from https://zenodo.org/records/2535967" in failed(tmp_path, "snow", 1, test)
    assert "Cannot read" in failed(tmp_path, "frost", 1, test)
    assert "is no folder. Expected the unpacked CIFAR-10-C" in failed(tmp_path / "none", "fog", 1, test)
