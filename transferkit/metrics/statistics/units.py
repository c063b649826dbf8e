"""What is drawn by chance where images are: each image for itself, or whole groups of them, such as patients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from transferkit.runtime.array_types import Bools, Floats, Integers
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.plurals import counted


@dataclass(frozen=True)
class Units:
    """The images of one set, one by one or in groups.

    Attributes:
        images: How many, N.
        numbers: (N,) the group of each image, 0..G-1; None where every image stands for itself.
    """

    images: int
    numbers: Integers | None = None

    @classmethod
    def of(cls, images: int, groups: Sequence[str] | None) -> Units:
        """Of N images with the names of their groups.

        Raises:
            TransferkitError: If there is not one name for each image.
        """
        if groups is None:
            return cls(images)
        if len(groups) != images:
            raise TransferkitError(
                f"{counted(len(groups), 'group')} for {counted(images, 'image')}; expected one name for each image."
            )
        return cls(images, np.unique(np.asarray(groups), return_inverse=True)[1].astype(np.int64))

    @property
    def sizes(self) -> Integers:
        """(G,) how many images each unit has."""
        return np.ones(self.images, np.int64) if self.numbers is None else np.bincount(self.numbers)

    @property
    def effective(self) -> float:
        """How many units of equal size tell as much: (sum of sizes)^2 / sum of squares (Kish, Survey Sampling 1965)."""
        return float(self.images**2 / (self.sizes**2).sum()) if self.images else 0.0

    def sums(self, values: Integers) -> Integers:
        """(..., N) to (..., G), the sum over each unit."""
        if self.numbers is None:
            return values
        order = np.argsort(self.numbers, kind="stable")
        sums: Integers = np.add.reduceat(values[..., order], np.cumsum(self.sizes) - self.sizes, axis=-1)
        return sums


def seed_variance(correct: Bools, units: Units) -> Floats:
    """(...) variance of an arm's mean accuracy by what seeds differ by on one unit alone, unbiased.

    Args:
        correct: (..., S, N) whether each of at least two runs is right on each image.
        units: Of the N images.
    """
    runs, right = correct.shape[-2], units.sums(correct.astype(np.int64))  # (..., S, G)
    of_sums = (runs * (right**2).sum(axis=-2) - right.sum(axis=-2) ** 2).sum(axis=-1)  # whole numbers: no order counts
    variance: Floats = of_sums / (runs**2 * (runs - 1) * units.images**2)
    return variance
