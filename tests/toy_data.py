"""A data set that somebody adds: its keys and how it is loaded; its one line stands in `DATA_MODELS`."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from transferkit.data.datasets.outline import Outline
from transferkit.data.images import Images, Splits
from transferkit.data.splitting import carved
from transferkit.recipe import DataSettings
from transferkit.runtime.console import Console

PX = 16


class ToyData(DataSettings):
    """Stripes of two directions below noise."""

    module = "toy_data"
    classes = 2
    side = "16 x 16 px"
    terms = "nobody's"
    source = "drawn here"
    mirrors = False

    name: Literal["toy-stripes"]
    per_class: int = Field(30, ge=10, le=1000, description="Images of each class, test included.")


def load(settings: ToyData, _console: Console) -> Splits:
    """Two thirds for train and val, the others for test."""
    labels = np.arange(2 * settings.per_class) % 2
    stripes = np.arange(PX)[:, None] % 4 < 2
    pixels = np.where(labels[:, None, None], stripes, stripes.T)[:, None] * 120
    noise = np.random.default_rng(0).integers(0, 100, (len(labels), 3, PX, PX))
    images = Images.from_pixels((pixels + noise).astype(np.uint8), labels, ["across", "down"])
    tested = np.arange(len(labels)) % 6 < 2
    return carved(images.subset(np.flatnonzero(~tested)), images.subset(np.flatnonzero(tested)), settings)


def outline(settings: ToyData) -> Outline:
    return Outline.divided(2 * settings.per_class, 1 / 3, classes=2, px=PX)
