"""The images of a training in another process: loaded there by the same settings, and checked to be the same."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transferkit.data import datasets
from transferkit.data.images import Images
from transferkit.runtime.console import SILENT
from transferkit.runtime.errors import TransferkitError

_LOADED: dict[str, tuple[Images, ...]] = {}  # the latest data set, by its settings: a run trains on it twice


@dataclass(frozen=True)
class ImageList:
    """Which images, in which order: their number, and a digest over ids, labels and side.

    Attributes:
        count: How many.
        digest: SHA-256 in hex.
    """

    count: int
    digest: str

    @classmethod
    def of(cls, images: Images) -> ImageList:
        """The list of these images, whose pixels are not read."""
        digest = hashlib.sha256(repr((images.size_px, images.class_names, images.ids)).encode())
        digest.update(images.require_labels().tobytes())
        return cls(len(images), digest.hexdigest())

    def among(self, candidates: Sequence[Images]) -> Images:
        """Those of some image sets that are on this list.

        Raises:
            TransferkitError: If none is: this process sees other images than the one that leads.
        """
        for images in candidates:
            if len(images) == self.count and ImageList.of(images) == self:
                return images
        counts = ", ".join(f"{len(images):,}" for images in candidates)
        raise TransferkitError(
            f"This process finds other images than the one that leads: it leads {self.count:,}, and here are sets of "
            f"{counts}. Give all machines the same data, at the same path."
        )


def images_of(data: Any) -> tuple[Images, ...]:
    """What a training may learn from or be judged by: train, val, both together, none."""
    key = data.model_dump_json()
    if key not in _LOADED:
        _LOADED.clear()
        splits = datasets.load(data, SILENT)
        together = (splits.train.joined(splits.val),) if len(splits.val) else ()
        _LOADED[key] = (splits.train, splits.val, *together, splits.val.subset([]))
    return _LOADED[key]
