"""Images, their fingerprint, the split and the seal."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from transferkit.data.images import Images, SealedImages, Splits, aligned
from transferkit.data.splitting import hold_out, split, val_positions
from transferkit.runtime.errors import TransferkitError

NAMES = ("cat", "dog", "owl")


def some_images(per_class: int = 40, names: tuple[str, ...] = NAMES, seed: int = 0) -> Images:
    labels = np.repeat(np.arange(len(names)), per_class)
    pixels = np.random.default_rng(seed).integers(0, 256, (len(labels), 3, 4, 4), dtype=np.uint8)
    return Images.from_pixels(pixels, labels, names)


def splits_with(limit: int | None, seed: int = 0) -> Splits:
    return split(some_images(), some_images(5), val_fraction=0.2, limit_per_class=limit, seed=seed)


def test_every_limit_takes_a_subset_of_the_next_larger_one_in_train_and_val() -> None:
    found = [splits_with(limit) for limit in (1, 2, 5, 10, 20, 40, None)]

    for smaller, larger in pairwise(found):
        assert set(smaller.train.ids) <= set(larger.train.ids)
        assert set(smaller.val.ids) <= set(larger.val.ids)


def test_a_limit_counts_train_and_val_together_per_class() -> None:
    splits = splits_with(10)

    assert np.bincount(splits.train.labels).tolist() == [8, 8, 8]  # 10 labels, a fifth of them val
    assert np.bincount(splits.val.labels).tolist() == [2, 2, 2]


def test_train_and_val_share_no_image() -> None:
    splits = splits_with(None)

    assert not set(splits.train.ids) & set(splits.val.ids)
    assert len(splits.train) + len(splits.val) == 120


def test_the_first_label_of_a_class_is_never_val() -> None:
    for n in range(1, 50):
        for fraction in (0.1, 0.5, 0.9, 0.99):
            assert not val_positions(n, fraction)[0]


def test_val_takes_its_share_of_a_class() -> None:
    assert val_positions(100, 0.1).sum() == 10
    assert val_positions(100, 0.25).sum() == 25


def test_another_seed_splits_otherwise_and_the_same_seed_the_same() -> None:
    assert splits_with(10, seed=1).train.ids == splits_with(10, seed=1).train.ids
    assert splits_with(10, seed=1).train.ids != splits_with(10, seed=2).train.ids


def test_the_fingerprint_changes_with_one_pixel_one_label_one_name_and_the_order() -> None:
    images = some_images()
    pixels = images.storage.copy()
    pixels[7, 0, 0, 0] ^= 1
    labels = images.labels.copy()
    labels[7] = 2
    changed = [
        Images.from_pixels(pixels, images.labels, NAMES),
        replace(images, labels=labels),
        replace(images, class_names=("cat", "dog", "fox")),
        images.subset(np.arange(len(images))[::-1]),
    ]

    assert len({images.fingerprint, *(other.fingerprint for other in changed)}) == 5


def test_the_fingerprint_depends_on_content_alone() -> None:
    images = some_images()
    copy = Images.from_pixels(images.storage.copy(), images.labels, NAMES, [f"id {i}" for i in range(len(images))])

    assert images.fingerprint == copy.fingerprint
    assert images.subset([3, 5]).fingerprint == Images.from_pixels(images.storage[[3, 5]], [0, 0], NAMES).fingerprint


def test_known_digests_give_the_same_fingerprint_as_computed_ones() -> None:
    images = some_images()
    known = Images.from_pixels(images.storage, images.labels, NAMES, digests=images.digests)

    assert known.subset([4, 2]).fingerprint == images.subset([4, 2]).fingerprint


def test_a_sealed_set_counts_its_openings_and_tells_names_and_size_without_one() -> None:
    sealed = SealedImages(some_images())

    assert (sealed.class_names, sealed.size_px, len(sealed), sealed.openings) == (NAMES, (4, 4), 120, 0)
    sealed.open()
    sealed.open()
    assert sealed.openings == 2


def test_alignment_goes_by_name_and_not_by_position() -> None:
    images = some_images(1, ("owl", "cat"))

    assert aligned(images, NAMES).labels.tolist() == [2, 0]
    assert aligned(images, NAMES).class_names == NAMES


def test_alignment_refuses_an_unknown_class_and_shows_the_difference() -> None:
    with pytest.raises(TransferkitError, match=r"Only here: 'Cat'; only in train: 'cat', 'owl'"):
        aligned(some_images(1, ("Cat", "dog")), NAMES)


def test_hold_out_takes_the_same_share_of_every_class_and_nothing_twice() -> None:
    kept, held_out = hold_out(some_images(), 0.25, seed=0)

    assert np.bincount(held_out.labels).tolist() == [10, 10, 10]
    assert not set(kept.ids) & set(held_out.ids)
    assert len(kept) == 90


def test_a_class_without_training_image_is_named() -> None:
    pool = some_images().subset(np.arange(80))

    with pytest.raises(TransferkitError, match=r"No training image for 1 of 3 classes: 'owl'"):
        split(pool, some_images(1), val_fraction=0.1, limit_per_class=None, seed=0)


def test_one_class_is_refused() -> None:
    with pytest.raises(TransferkitError, match=r"at least two classes; found 1: 'cat'"):
        split(some_images(3, ("cat",)), some_images(3, ("cat",)), val_fraction=0.1, limit_per_class=None, seed=0)


@pytest.mark.parametrize(
    ("pixels", "labels", "message"),
    [
        (np.zeros((2, 3, 4, 4), np.float32), [0, 1], r"uint8 pixels of shape \(N, bands, H, W\); found float32"),
        (np.zeros((2, 4, 4, 3), np.uint8), [0, 1], r"found uint8 \(2, 4, 4, 3\)"),
        (np.zeros((2, 3, 4, 4), np.uint8), [0], r"2 images, 1 label"),
        (np.zeros((2, 3, 4, 4), np.uint8), [0, 3], r"Labels must lie in 0\.\.2.*found 0\.\.3"),
    ],
)
def test_wrong_arrays_are_refused_with_what_was_expected(pixels: np.ndarray, labels: list[int], message: str) -> None:
    with pytest.raises(TransferkitError, match=message):
        Images.from_pixels(pixels, labels, NAMES)


def test_a_subset_shares_the_storage_and_take_copies() -> None:
    images = some_images()
    part = images.subset([5, 1])

    assert part.storage is images.storage
    taken = part.take(slice(0, 2))
    taken[:] = 0
    assert np.array_equal(part.pixels, images.storage[[5, 1]])
    assert images.storage[5].any()


def test_chunks_cover_all_images_in_order() -> None:
    images = some_images()

    chunks = list(images.chunks(50))

    assert [len(chunk) for chunk in chunks] == [50, 50, 20]
    assert np.array_equal(np.concatenate(chunks), images.pixels)


def test_images_without_labels_say_so_where_labels_are_needed() -> None:
    images = Images.from_pixels(np.zeros((3, 3, 2, 2), np.uint8), None, ())

    with pytest.raises(TransferkitError, match=r"The images have no labels\. Expected one per image: take a labelled"):
        images.require_labels()


def test_a_subset_of_images_without_labels_has_none() -> None:
    images = Images.from_pixels(np.zeros((3, 3, 2, 2), np.uint8), None, ())

    assert images.subset([2, 0]).labels is None
    assert images.subset([2, 0]).ids == ("2", "0")


def test_images_with_and_without_labels_differ_in_their_fingerprint() -> None:
    labelled = Images.from_pixels(np.zeros((3, 3, 2, 2), np.uint8), [0, 0, 0], ("cat",))

    assert labelled.fingerprint != replace(labelled, labels=None).fingerprint
