"""What is remembered of each unlabelled image once the network has looked at it: its pixels are not."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from transferkit.data.duplicates import Sketches, joined, sketches
from transferkit.data.images import Images
from transferkit.deploy.answers import PredictionTask, batches, unreadable_files
from transferkit.features.extraction.listing import Listing, ListingPart
from transferkit.features.finite import require_finite_logits
from transferkit.runtime.array_types import Features
from transferkit.runtime.console import Console


@dataclass(frozen=True)
class Pool:
    """N readable images.

    Attributes:
        numbers: (N,), lines of the listing.
        paths: N.
        features: (N, D).
        classes: (N, 2), the likeliest class and the second one.
        probabilities: (N, 2), of these.
        sketches: Of N images, what copies are found by.
        unreadable: How many other files could not be read.
    """

    numbers: npt.NDArray[np.int64]
    paths: tuple[str, ...]
    features: Features
    classes: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float64]
    sketches: Sketches
    unreadable: int = 0

    def __len__(self) -> int:
        return len(self.paths)

    def subset(self, rows: npt.NDArray[np.int64]) -> Pool:
        """Some of the images."""
        return Pool(
            self.numbers[rows],
            tuple(self.paths[row] for row in rows),
            self.features[rows],
            self.classes[rows],
            self.probabilities[rows],
            self.sketches.subset(rows),
            self.unreadable,
        )


def look_at(task: PredictionTask, listing: Listing, console: Console) -> Pool:
    """Pass all images of a listing through the network; only one batch of pixels is in memory, and the next.

    Raises:
        MachineError: If a logit is not finite; names the image.
    """
    parts: list[Pool] = []
    start = 0
    with console.progress("look at the images", listing.total) as progress:
        for pixels, pictures in batches(task, ListingPart(listing.file, 0, listing.total)):
            ids = tuple(pictures.ids)
            parts.append(_part(task, pixels, ids, start, unreadable_files(pictures)))
            start += len(ids)
            progress.advance(len(ids))
    return _joined(parts)


def _part(
    task: PredictionTask, pixels: npt.NDArray[np.uint8], ids: tuple[str, ...], start: int, unreadable: Container[str]
) -> Pool:
    features, logits = task.model.fast.answers_to(pixels)
    require_finite_logits(logits, ids)
    shares = softmax(logits.astype(np.float64), axis=1)
    classes = np.argsort(-shares, axis=1, kind="stable")[:, :2]
    whole = Pool(
        np.arange(start, start + len(ids)),
        ids,
        np.asarray(features, np.float32),
        classes,
        np.take_along_axis(shares, classes, axis=1),
        sketches(Images.from_pixels(pixels, None, ())),
        sum(name in unreadable for name in ids),
    )
    return whole.subset(np.flatnonzero([name not in unreadable for name in ids]))


def _joined(parts: list[Pool]) -> Pool:
    """The images of all batches in a row; at least one batch."""
    return Pool(
        np.concatenate([part.numbers for part in parts]),
        tuple(path for part in parts for path in part.paths),
        np.concatenate([part.features for part in parts]),
        np.concatenate([part.classes for part in parts]),
        np.concatenate([part.probabilities for part in parts]),
        joined([part.sketches for part in parts]),
        sum(part.unreadable for part in parts),
    )
