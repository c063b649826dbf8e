"""Duplicates of test images in train: equal pixels, changed pictures, alike features, and what is none."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from transferkit.data import duplicates as module
from transferkit.data.duplicates import copies, difference_hashes, duplicates, joined, sketches
from transferkit.data.images import Images


def scenes(count: int, seed: int, side: int = 32) -> np.ndarray:
    """(count, 3, side, side) uint8, smooth noise, each image another."""
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 5, 5, 3), dtype=np.uint8)
    resized = [np.asarray(Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC)) for small in coarse]
    return np.stack(resized).transpose(0, 3, 1, 2)


def images_of(pixels: np.ndarray) -> Images:
    return Images.from_pixels(np.ascontiguousarray(pixels), np.zeros(len(pixels), np.int64), ("a",))


def features(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 8)).astype(np.float32)


TRAIN, TEST = scenes(40, 0), scenes(20, 1)


def test_images_that_share_nothing_are_no_duplicates() -> None:
    assert duplicates(images_of(TRAIN), images_of(TEST), features(40, 0), features(20, 1)) == ()


def test_equal_pixels_are_found_wherever_they_lie() -> None:
    test = TEST.copy()
    test[7] = TRAIN[31]

    found = duplicates(images_of(TRAIN), images_of(test), features(40, 0), features(20, 1))

    assert [(pair.test, pair.train, pair.kind, pair.correlation) for pair in found] == [(7, 31, "same pixels", 1.0)]


def test_a_darker_copy_is_found_by_its_hash() -> None:
    test = TEST.copy()
    test[3] = (TRAIN[5] * 0.7 + 20).astype(np.uint8)

    (pair,) = duplicates(images_of(TRAIN), images_of(test), features(40, 0), features(20, 1))

    assert (pair.test, pair.train, pair.kind) == (3, 5, "hash")
    assert pair.correlation > 0.99


def test_a_few_pairs_at_a_time_find_what_all_at_once_do(monkeypatch: pytest.MonkeyPatch) -> None:
    test = TEST.copy()
    test[3], test[19] = (TRAIN[5] * 0.7 + 20).astype(np.uint8), (TRAIN[39] * 0.7 + 20).astype(np.uint8)
    arguments = images_of(TRAIN), images_of(test), features(40, 0), features(20, 1)
    at_once = duplicates(*arguments)

    monkeypatch.setattr(module, "AT_ONCE", 3 * 40 + 1)  # three test images beside the 40 of train

    assert duplicates(*arguments) == at_once
    assert [(pair.test, pair.train) for pair in at_once] == [(3, 5), (19, 39)]


def test_a_copy_that_hides_from_the_hash_is_found_by_its_features() -> None:
    flat = np.full((1, 3, 32, 32), 128, np.int64)
    flat[:, :, 8:24, 8:24] = 160  # a square on an even ground, so that noise decides most bits of the hash
    noise = np.random.default_rng(2).integers(-2, 3, (2, 3, 32, 32))
    train, test = TRAIN.copy(), TEST.copy()
    train[9], test[4] = (flat + noise[:1])[0].astype(np.uint8), (flat + noise[1:])[0].astype(np.uint8)
    train_features, test_features = features(40, 0), features(20, 1)
    test_features[4] = 3 * train_features[9]

    (pair,) = duplicates(images_of(train), images_of(test), train_features, test_features)

    assert (pair.test, pair.train, pair.kind) == (4, 9, "features")


def test_alike_features_alone_make_no_duplicate() -> None:
    assert duplicates(images_of(TRAIN), images_of(TEST), features(40, 0), features(40, 0)[:20]) == ()


def test_blank_images_are_alike_only_in_their_pixels() -> None:
    blank = np.full((2, 3, 16, 16), 255, np.uint8)
    grey = np.full((1, 3, 16, 16), 128, np.uint8)

    (pair,) = duplicates(images_of(blank), images_of(np.concatenate([grey, blank[:1]])), features(2, 0), features(2, 1))

    assert (pair.test, pair.kind) == (1, "same pixels")


@pytest.mark.parametrize("empty", ["train", "test"])
def test_no_images_have_no_duplicates(empty: str) -> None:
    nothing, some = images_of(TRAIN[:0]), images_of(TRAIN)
    train, test = (nothing, some) if empty == "train" else (some, nothing)

    assert duplicates(train, test, features(len(train), 0), features(len(test), 0)) == ()


def test_the_hash_compares_each_place_with_the_one_to_its_right() -> None:
    falling = np.broadcast_to(np.linspace(255, 0, 36).astype(np.uint8), (1, 3, 32, 36))

    assert difference_hashes(images_of(falling)).all()
    assert not difference_hashes(images_of(falling[..., ::-1])).any()


def test_sketches_find_the_same_pairs_without_pixels() -> None:
    test = TEST.copy()
    test[3] = (TRAIN[5] * 0.7 + 20).astype(np.uint8)
    train, seen = images_of(TRAIN), images_of(test)
    parts = joined([sketches(seen.subset(rows)) for rows in (np.arange(8), np.arange(8, 20))])

    pairs = copies(sketches(train), parts, features(40, 0), features(20, 1))

    assert pairs == duplicates(train, seen, features(40, 0), features(20, 1))


def test_images_are_one_picture_by_pixels_or_by_hash_and_correlation() -> None:
    pixels = TEST.copy()
    pixels[4], pixels[9] = pixels[2], (pixels[2] * 0.7 + 20).astype(np.uint8)

    assert np.flatnonzero(sketches(images_of(pixels)).likenesses(2)).tolist() == [2, 4, 9]


def test_pictures_of_four_bands_are_compared_by_their_mean() -> None:
    four = np.concatenate([TEST, TEST[:, :1]], axis=1)

    assert np.flatnonzero(sketches(images_of(four)).likenesses(2)).tolist() == [2]
