"""What a listing of the feature store says of features: of which network and of which images they are."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Protocol

from transferkit.models.classifier import Classifier


class Named(Protocol):
    """Images, or files of images, by their ids."""

    @property
    def ids(self) -> Sequence[str]:
        """The path or index of each image."""

    def __len__(self) -> int: ...


def about(classifier: Classifier, pictures: Named) -> dict[str, str]:
    """The network with its weights, and the origin of the images; no part of the key, so features are found as ever."""
    return {"network": f"{classifier.backbone} ({classifier.weights.tag})", "images": origin(pictures)}


def origin(pictures: Named) -> str:
    """The data set or folder that images are of; empty where nothing tells, as of arrays."""
    named: str = getattr(pictures, "origin", "")
    if named or not len(pictures) or not os.path.exists(pictures.ids[0]):
        return named
    return os.path.commonpath([os.path.abspath(os.path.dirname(path)) for path in pictures.ids])
