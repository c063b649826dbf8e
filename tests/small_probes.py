"""Images of noise, and settings of a probe."""

from __future__ import annotations

import numpy as np
import torch

from transferkit.data.images import Images, Splits
from transferkit.data.splitting import split
from transferkit.recipe import ProbeSettings
from transferkit.runtime.machine import Runtime

CPU = Runtime(torch.device("cpu"), "fp32", 1)


def noise(n: int = 60) -> Splits:
    """Three classes of noise of slightly different brightness; 2 images of 10 are val, and as many again are test."""
    generator = np.random.default_rng(0)
    labels = np.arange(n) % 3
    pixels = (generator.integers(0, 90, (n, 3, 16, 16)) + 8 * labels[:, None, None, None]).astype(np.uint8)
    pool = Images.from_pixels(pixels[: -n // 3], labels[: -n // 3], ("dark", "grey", "light"))
    test = Images.from_pixels(pixels[-n // 3 :], labels[-n // 3 :], pool.class_names)
    return split(pool, test, val_fraction=0.2, limit_per_class=None, seed=0)


def settings(**options: object) -> ProbeSettings:
    return ProbeSettings(name="probe", **options)  # type: ignore[arg-type]
