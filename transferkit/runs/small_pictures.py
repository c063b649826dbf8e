"""Small pictures of a run's images, kept beside its outputs for its pages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

ByIndex = Mapping[int, npt.NDArray[np.uint8]]  # (3, h, w) by the position of the image in its set


@dataclass(frozen=True)
class SmallPictures:
    """Pictures (M, 3, h, w) of the images at these positions (M,)."""

    indices: npt.NDArray[np.int64]
    pixels: npt.NDArray[np.uint8]

    @property
    def by_index(self) -> ByIndex:
        """Each picture under the position of its image."""
        return _by_index(self.indices, self.pixels)


@dataclass(frozen=True)
class LabelPictures:
    """Pictures of likely label errors and duplicates, as `SmallPictures` of train and of test."""

    train_indices: npt.NDArray[np.int64]
    train_pixels: npt.NDArray[np.uint8]
    test_indices: npt.NDArray[np.int64]
    test_pixels: npt.NDArray[np.uint8]

    @property
    def train(self) -> ByIndex:
        """Those of train, by position."""
        return _by_index(self.train_indices, self.train_pixels)

    @property
    def test(self) -> ByIndex:
        """Those of test, by position."""
        return _by_index(self.test_indices, self.test_pixels)


@dataclass(frozen=True)
class PictureSheet:
    """One picture (3, h, w), or several (N, 3, h, w)."""

    pixels: npt.NDArray[np.uint8]


def _by_index(indices: npt.NDArray[np.int64], pixels: npt.NDArray[np.uint8]) -> ByIndex:
    return dict(zip(indices.tolist(), pixels, strict=True))


NONE_AT, NONE = np.zeros(0, np.int64), np.zeros((0, 3, 0, 0), np.uint8)
NO_LABEL_PICTURES = LabelPictures(NONE_AT, NONE, NONE_AT, NONE)
