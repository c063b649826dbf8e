"""Test images that are also in train, or nearly: found by equal pixels, hash and features, confirmed by pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from transferkit.data.images import Images, Pixels

Floats = npt.NDArray[np.float32]
Kind = Literal["same pixels", "hash", "features"]

HASH_BITS_APART = 6  # of 64, at most, for a pair found by hash
SIDE = 16  # px of the grey pictures that confirm a pair
CORRELATION = 0.95  # of these, at least
NEAREST = 3  # training images compared with each test image by features
AT_ONCE = 4_000_000  # pairs of images compared at once: 16 MB
NEAR_HASH_BITS = 4  # of 64, at most, for a pair that is looked for without features
NEAR_CORRELATION = 0.98
SMALLEST_PX = 16  # drawings of 8 px, as in `digits`, are alike without being copies: 43 of 898


@dataclass(frozen=True)
class Sketches:
    """What copies of N images are found by, about 1 KB of each: the pixels themselves are not needed any more.

    Attributes:
        digests: (N, 16), equal where the pixels are.
        hashes: (N, 64), of `difference_hashes`.
        grey: (N, 256), at 16 px, of mean 0 and length 1.
    """

    digests: Pixels
    hashes: npt.NDArray[np.bool_]
    grey: Floats

    def __len__(self) -> int:
        return len(self.digests)

    def subset(self, rows: slice | npt.NDArray[np.int64]) -> Sketches:
        """Those of some of the images."""
        return Sketches(self.digests[rows], self.hashes[rows], self.grey[rows])

    def likenesses(self, at: int) -> npt.NDArray[np.bool_]:
        """(N,), whether each is one picture with that of this position: by pixels, or by hash and correlation."""
        is_same = (self.digests == self.digests[at]).all(axis=1)
        is_near = (self.hashes != self.hashes[at]).sum(axis=1) <= HASH_BITS_APART
        is_alike: npt.NDArray[np.bool_] = is_same | (is_near & (self.grey @ self.grey[at] >= CORRELATION))
        return is_alike


def sketches(images: Images) -> Sketches:
    """What copies of these images are found by."""
    return Sketches(images.digests, difference_hashes(images), _grey(images))


def joined(parts: Sequence[Sketches]) -> Sketches:
    """The sketches of several parts in a row; at least one part."""
    digests, hashes, grey = zip(*((part.digests, part.hashes, part.grey) for part in parts), strict=True)
    return Sketches(np.concatenate(digests), np.concatenate(hashes), np.concatenate(grey))


@dataclass(frozen=True)
class Duplicate:
    """A test image and its like in train.

    Attributes:
        test: Position in the test images.
        train: Position in the training images.
        kind: How the pair was found; of several ways the first of "same pixels", "hash", "features".
        correlation: Of the two pictures in grey at 16 px, in [-1, 1].
    """

    test: int
    train: int
    kind: Kind
    correlation: float


def duplicates(train: Images, test: Images, train_features: Floats, test_features: Floats) -> tuple[Duplicate, ...]:
    """At most one pair for each test image, in the order of the test images.

    Pairs with a close difference hash, and pairs of nearest features, count only where the pictures correlate: features
    alone call any two images of a well-known class alike.

    Args:
        train: N images.
        test: M images.
        train_features: (N, D).
        test_features: (M, D).
    """
    if not len(train) or not len(test):
        return ()
    return copies(sketches(train), sketches(test), train_features, test_features)


def copies(train: Sketches, test: Sketches, train_features: Floats, test_features: Floats) -> tuple[Duplicate, ...]:
    """As `duplicates`, of images whose pixels are gone."""
    by_test = _same_pixels(train, test)
    by_hash = _nearest(_signs(train.hashes), _signs(test.hashes), 1, 64 - 2 * HASH_BITS_APART)
    by_features = _nearest(_unit(train_features), _unit(test_features), NEAREST, -1.0)
    kinds: tuple[tuple[Kind, list[tuple[int, int]]], ...] = (("hash", by_hash), ("features", by_features))
    for kind, pairs in kinds:
        for at, like in pairs:
            correlation = float(test.grey[at] @ train.grey[like])
            if at not in by_test and correlation >= CORRELATION:
                by_test[at] = Duplicate(at, like, kind, correlation)
    return tuple(by_test[at] for at in sorted(by_test))


def near_copies(train: Images, test: Images) -> list[tuple[int, int]]:
    """Pairs (test, train), at most one for each test image, whose hashes and grey pictures are nearly the same.

    Brightened, compressed or resized copies and overlapping crops stay so near; of 2,000 test images of Tiny ImageNet
    none is as near to another one. Images below 16 px show too little to tell.

    Args:
        train: N images.
        test: M images.
    """
    if not len(train) or not len(test) or min(train.size_px) < SMALLEST_PX:
        return []
    hashes = _signs(difference_hashes(train)), _signs(difference_hashes(test))
    grey = _grey(train), _grey(test)
    by_hash = _nearest(*hashes, NEAREST, 64 - 2 * NEAR_HASH_BITS)
    near = {at: like for at, like in reversed(by_hash) if float(grey[1][at] @ grey[0][like]) >= NEAR_CORRELATION}
    return sorted(near.items())


def likeness(train: Images, images: Images) -> Floats:
    """(M,), the correlation of each of M images with the most similar of N training images (grey, 16 px), in [-1, 1].

    A copy that was brightened, compressed or made smaller stays near 1. How near other images come depends on what they
    show: on the nearly blank drawings of `digits` at 8 px a third of the val images are above 0.95.
    """
    if not len(train) or not len(images):
        return np.full(len(images), -1, np.float32)
    bank, grey = torch.from_numpy(_grey(train)).T, torch.from_numpy(_grey(images))
    parts = torch.split(grey, rows_at_once(len(train)))
    highest: Floats = torch.cat([(rows @ bank).max(dim=1).values for rows in parts]).numpy()
    return highest


def _same_pixels(train: Sketches, test: Sketches) -> dict[int, Duplicate]:
    """The test images whose pixels are those of a training image, with the first such."""
    first: dict[bytes, int] = {}
    for at, digest in enumerate(train.digests):
        first.setdefault(digest.tobytes(), at)
    known = ((at, first.get(digest.tobytes())) for at, digest in enumerate(test.digests))
    return {at: Duplicate(at, like, "same pixels", 1.0) for at, like in known if like is not None}


def difference_hashes(images: Images) -> npt.NDArray[np.bool_]:
    """(N, 64), whether each of 8 x 8 grey places is brighter than the place to its right.

    Krawetz, "Kind of like that" (hackerfactor.com, 2013): brightness and contrast leave the hash as it is.
    """
    grey = np.concatenate([_resized(chunk, (8, 9)) for chunk in images.chunks(128)])  # (N, 8, 9)
    hashes: npt.NDArray[np.bool_] = (grey[:, :, :-1] > grey[:, :, 1:]).reshape(len(grey), 64)
    return hashes


def _grey(images: Images) -> Floats:
    """(N, 256) of mean 0 and length 1, so that products are correlations; zeros for an image of one brightness."""
    grey, done = np.empty((len(images), SIDE * SIDE), np.float32), 0
    for chunk in images.chunks(128):
        rows = _resized(chunk, (SIDE, SIDE)).reshape(len(chunk), -1)
        grey[done : done + len(chunk)] = _unit(rows - rows.mean(axis=1, keepdims=True))
        done += len(chunk)
    return grey


def _resized(pixels: Pixels, size: tuple[int, int]) -> Floats:
    """(B, h, w), luma (ITU-R BT.601) at another size, antialiased; of other than three bands their mean."""
    bands = pixels.shape[1]
    weights = torch.tensor([0.299, 0.587, 0.114] if bands == 3 else [1 / bands] * bands).view(1, -1, 1, 1)
    grey = (torch.from_numpy(pixels).float() * weights).sum(dim=1, keepdim=True)
    resized = torch.nn.functional.interpolate(grey, size=size, mode="bilinear", antialias=True, align_corners=False)
    small: Floats = resized[:, 0].numpy()
    return small


def _signs(hashes: npt.NDArray[np.bool_]) -> Floats:
    """Bits as -1 and 1, so that a product of two hashes is 64 - 2 * bits apart."""
    return 2 * hashes.astype(np.float32) - 1


def _unit(rows: Floats) -> Floats:
    unit: Floats = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.float32(1e-6))
    return unit


def _nearest(train: Floats, test: Floats, count: int, least: float) -> list[tuple[int, int]]:
    """Pairs (test, train) of largest products, at least `least`, the best pair of each test image first."""
    everyone: Tensor = torch.from_numpy(train).T
    pairs, size = [], rows_at_once(len(train))
    for start in range(0, len(test), size):
        products = torch.from_numpy(test[start : start + size]) @ everyone
        values, rows = products.topk(min(count, len(train)), dim=1)
        near = (values >= least - 1e-3).nonzero().tolist()
        pairs += [(start + at, int(rows[at, rank])) for at, rank in near]
    return pairs


def rows_at_once(others: int) -> int:
    """How many images are compared with so many others at once, so that memory does not grow with both."""
    return max(1, AT_ONCE // max(1, others))
