"""scikit-learn's handwritten digits: 1,797 grey images of 8 x 8 px, shipped with it."""

from __future__ import annotations

import numpy as np

from transferkit.data.datasets.outline import Outline
from transferkit.data.images import Images, Pixels, Splits
from transferkit.data.splitting import divided
from transferkit.recipe import DigitsData
from transferkit.runtime.console import Console

CLASS_NAMES = tuple("0123456789")
BRIGHTEST = 16  # scikit-learn, load_digits: "each feature is an integer in 0..16"


def load(settings: DigitsData, console: Console) -> Splits:  # noqa: ARG001 - nothing here takes long
    """Digits, light ink on black, at their own size; a stratified share is sealed as test."""
    from sklearn.datasets import load_digits

    data = load_digits()
    ids = [f"digit-{index:04d}" for index in range(len(data.target))]
    images = Images.from_pixels(as_rgb(data.images), data.target, CLASS_NAMES, ids)
    return divided(images, settings.test_fraction, settings)


def outline(settings: DigitsData) -> Outline:
    """As scikit-learn ships them."""
    return Outline.divided(1_797, settings.test_fraction, classes=10, px=8)


def as_rgb(grey: np.ndarray) -> Pixels:
    """(N, 3, 8, 8) uint8 from grey (N, 8, 8) in 0..16: value x 255 / 16, rounded, the same in all channels.

    Example:
        >>> as_rgb(np.array([[[0.0, 8.0, 16.0]]])).tolist()
        [[[[0, 128, 255]], [[0, 128, 255]], [[0, 128, 255]]]]
    """
    scaled = np.rint(grey * (255 / BRIGHTEST)).astype(np.uint8)
    return np.repeat(scaled[:, None], 3, axis=1)  # (N, H, W) -> (N, 3, H, W)
