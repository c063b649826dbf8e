"""What a run keeps of why test images got their answers: their neighbours among training images, and heat maps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from transferkit.runtime.array_records import read_array_record, write_array_record

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Explanations:
    """What the report shows beside the images that it lists one by one.

    Attributes:
        indices: (M,), positions of these images in the test outputs.
        neighbours: (M, K), rows of the table below, most similar first.
        similarities: (M, K), cosine of the features, in [-1, 1].
        pictures: (U, 3, h, w) uint8, the neighbours' small pictures.
        labels: (U,), their classes.
        ids: U strings.
        searched: Training images the neighbours were searched among.
        train_images: Training images there were.
        maps: (M, h, w) uint8, Grad-CAM of the predicted class, 255 at the strongest place; (M, 0, 0) if there is none.
        layer: The module of the backbone that was mapped.
        crop: Share of the sides around the centre that the network, and so the map, sees.
        no_maps_because: Why there are no maps; empty where there are.
    """

    indices: Integers
    neighbours: Integers
    similarities: Floats
    pictures: npt.NDArray[np.uint8]
    labels: Integers
    ids: tuple[str, ...]
    searched: int
    train_images: int
    maps: npt.NDArray[np.uint8]
    layer: str
    crop: float
    no_maps_because: str

    def save(self, path: Path) -> None:
        """Write to a .safetensors file."""
        write_array_record(path, self)

    @classmethod
    def load(cls, path: Path) -> Explanations:
        """Read what `save` wrote.

        Raises:
            TransferkitError: If the file is missing, damaged or something else.
        """
        return read_array_record(path, cls, "explanations")
