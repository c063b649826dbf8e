"""Nonsense images: each set is what its name says, of the size of the known images, and the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest

from transferkit.data.images import Images, Pixels
from transferkit.runtime.errors import TransferkitError
from transferkit.studies.limits import nonsense


def known(count: int = 30, height: int = 18, width: int = 16) -> Images:
    """Two colour ramps with some noise: no two rows, columns or images are equal."""
    generator = np.random.default_rng(0)
    ramp = np.arange(height)[:, None] * 6 + np.arange(width) * 5
    pixels = (ramp + generator.integers(0, 40, (count, 3, height, width))).astype(np.uint8)
    return Images.from_pixels(pixels, np.arange(count) % 2, ("a", "b"), [f"x{i}" for i in range(count)])


@pytest.fixture(scope="module")
def images() -> Images:
    return known()


@pytest.fixture(scope="module")
def sets(images: Images) -> dict[str, Images]:
    return nonsense.image_sets(images, seed=0, n=20)


def sources(images: Images, made: Images) -> Pixels:
    """The known images that taken-apart ones come from, by id."""
    return images.pixels[[images.ids.index(name) for name in made.ids]]


def test_there_are_ten_sets_of_the_size_asked_for(sets: dict[str, Images]) -> None:
    assert list(sets) == list(nonsense.SETS)
    assert {name: len(made) for name, made in sets.items()} == dict.fromkeys(nonsense.SETS, 20) | {
        "constant_colours": 27
    }
    assert {made.size_px for made in sets.values()} == {(18, 16)}
    assert all(made.class_names == (name,) for name, made in sets.items())
    assert len(sets) == 10


def test_few_known_images_still_give_all_the_noise() -> None:
    made = nonsense.image_sets(known(3), n=20)

    assert len(made["uniform_noise"]) == len(made["text"]) == 20
    assert len(made["inverted"]) == 3


def test_the_same_seed_gives_the_same_images_and_another_gives_others(images: Images, sets: dict[str, Images]) -> None:
    again, other = nonsense.image_sets(images, seed=0, n=20), nonsense.image_sets(images, seed=1, n=20)

    for name, made in sets.items():
        assert made.fingerprint == again[name].fingerprint
        assert (made.fingerprint == other[name].fingerprint) == (name == "constant_colours")


def test_uniform_noise_fills_the_range_evenly(sets: dict[str, Images]) -> None:
    values = sets["uniform_noise"].pixels  # 17,280 values; mean 127.5, sd 73.9

    assert abs(values.mean() - 127.5) < 4 * 73.9 / np.sqrt(values.size)
    assert (values.min(), values.max()) == (0, 255)


def test_gaussian_noise_has_the_mean_of_the_known_images(images: Images, sets: dict[str, Images]) -> None:
    made = sets["gaussian_noise"].pixels

    np.testing.assert_allclose(made.mean((0, 2, 3)), images.pixels.mean((0, 2, 3)), atol=2.5)  # 4 sd of the mean
    np.testing.assert_allclose(made.std((0, 2, 3)), images.pixels.std((0, 2, 3)), atol=2.5)


def test_the_constant_colours_are_27_and_flat(sets: dict[str, Images]) -> None:
    made = sets["constant_colours"].pixels

    assert len({tuple(image[:, 0, 0]) for image in made}) == 27
    assert (made == made[:, :, :1, :1]).all()


def test_checkerboards_have_two_colours_that_alternate(sets: dict[str, Images]) -> None:
    for image in sets["checkerboards"].pixels:
        colours = {tuple(pixel) for pixel in image.reshape(3, -1).T}
        assert len(colours) == 2
        first = (image == image[:, :1, :1]).all(axis=0)  # where the colour is that of the corner
        np.testing.assert_array_equal(first, first[:, :1] == first[:1, :])


def test_gradients_change_steadily(sets: dict[str, Images]) -> None:
    for image in sets["gradients"].pixels.astype(int):
        for axis in (1, 2):
            steps = np.diff(image, axis=axis)
            assert ((steps >= 0).all(axis=(1, 2)) | (steps <= 0).all(axis=(1, 2))).all()  # in each channel one way
        assert np.ptp(image, axis=(1, 2)).max() > 50


def test_text_is_mostly_ground_with_some_ink(sets: dict[str, Images]) -> None:
    for image in sets["text"].pixels:
        _, counts = np.unique(image.reshape(3, -1).T, axis=0, return_counts=True)
        assert 0.2 < counts.max() / (18 * 16) < 0.95


def test_shuffled_patches_are_the_patches_of_their_source(images: Images, sets: dict[str, Images]) -> None:
    made = sets["shuffled_patches"]

    for image, source in zip(made.pixels, sources(images, made), strict=True):
        cut = [
            {part[:, y : y + 4, x : x + 4].tobytes() for y in (0, 4, 8, 12) for x in (0, 4, 8, 12)}
            for part in (image, source)
        ]
        assert cut[0] == cut[1]
        assert len(cut[0]) == 16
        assert (image[:, 16:] == source[:, 16:]).all()  # two rows too many for four patches stay
        assert (image != source).any()


def test_scrambled_phases_keep_mean_and_spectrum(images: Images) -> None:
    soft = Images.from_pixels((images.pixels // 8 + 110).astype(np.uint8), images.labels, ("a", "b"))  # nothing is cut
    made = nonsense.image_sets(soft, n=20)["scrambled_phases"]

    before, after = (np.fft.fft2(part.astype(float)) for part in (sources(soft, made), made.pixels))
    np.testing.assert_allclose(made.pixels.mean((2, 3)), sources(soft, made).mean((2, 3)), atol=0.1)
    assert np.corrcoef(np.abs(before).ravel(), np.abs(after).ravel())[0, 1] > 0.999
    assert abs(np.corrcoef(made.pixels.ravel(), sources(soft, made).ravel())[0, 1]) < 0.3


def test_inverted_and_turned_images_are_those_of_their_sources(images: Images, sets: dict[str, Images]) -> None:
    inverted, turned = sets["inverted"], sets["rotated_180"]

    np.testing.assert_array_equal(inverted.pixels.astype(int) + sources(images, inverted), 255)
    np.testing.assert_array_equal(turned.pixels, np.rot90(sources(images, turned), 2, axes=(2, 3)))


@pytest.mark.parametrize(("images_", "n"), [(known(0), 5), (known(3, 7, 16), 5), (known(3), 0)])
def test_too_little_to_go_by_is_said(images_: Images, n: int) -> None:
    with pytest.raises(TransferkitError, match=r"need at least one image of at least 8 px .* and n >= 1; got"):
        nonsense.image_sets(images_, n=n)
