"""How large a step is: the schedules of the learning rate, and rates that do not depend on the momentum."""

from __future__ import annotations

import math
from collections.abc import Callable

TRIANGLE_START = 0.2  # of the peak rate; Jordan 2024 (arXiv:2404.00498), section 3.1
TRIANGLE_END = 0.07  # of the peak rate; airbench94, the program released with the paper
UNIT_IMAGES = 1024  # decoupled rates are those of a step over so many images (Jordan 2024)
RATE_IMAGES = 128  # `lr` is the rate of a batch of so many images (Goyal et al. 2017: it grows with the batch)


def cosine(step: int, total_steps: int, warmup: float) -> float:
    """A linear rise over the share `warmup` of the steps, then a cosine to zero (Loshchilov and Hutter 2017).

    Example:
        >>> [round(cosine(step, 10, 0.2), 3) for step in (0, 1, 2, 6, 10)]
        [0.5, 1.0, 1.0, 0.5, 0.0]
    """
    rising = round(warmup * total_steps)
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, total_steps - rising)))


def triangular(step: int, total_steps: int, warmup: float) -> float:
    """A straight line from 0.2 up to the peak at the share `warmup` of the steps, and one down to 0.07.

    Jordan 2024 (arXiv:2404.00498), section 3.1, after Smith and Topin 2017; the peak is at 23 % of the steps there.

    Example:
        >>> [round(triangular(step, 20, 0.25), 3) for step in (0, 1, 5, 10, 20)]
        [0.2, 0.36, 1.0, 0.69, 0.07]
    """
    peak = round(warmup * total_steps)
    if step < peak:
        return TRIANGLE_START + (1 - TRIANGLE_START) * step / peak
    return 1 - (1 - TRIANGLE_END) * (step - peak) / max(1, total_steps - peak)


SCHEDULES: dict[str, Callable[[int, int, float], float]] = {"cosine": cosine, "triangular": triangular}


def rate_share(step: int, total_steps: int, warmup: float, schedule: str = "cosine") -> float:
    """The share of the peak rate at a step of a training with so many steps."""
    return SCHEDULES[schedule](step, total_steps, warmup)


def coupled(lr: float, weight_decay: float, momentum: float) -> tuple[float, float]:
    """The `lr` and `weight_decay` of SGD that decoupled ones mean.

    Jordan 2024 (arXiv:2404.00498, the program's head) states both so that each can be chosen alone. The rate is that of
    1,024 images, with the growth of steps by momentum m divided out; he divides by 1 + 1 / (1 - m), though torch's
    Nesterov steps grow to 1 / (1 - m) times the rate. The decay is per 1,024 images and does not depend on the rate, by
    which torch multiplies it: this is divided out too.

    Example:
        >>> [round(value, 5) for value in coupled(11.5, 0.0153, momentum=0.85)]
        [0.1875, 0.00133]
    """
    return lr / decoupled_rate(1.0, momentum), weight_decay / lr


def decoupled_rate(lr: float, momentum: float) -> float:
    """The decoupled rate that SGD's own means, with which `coupled` gives it back.

    Example:
        >>> round(decoupled_rate(0.1875, momentum=0.85), 5)
        11.5
    """
    way = 1 + 1 / (1 - momentum)
    return lr * way * UNIT_IMAGES / RATE_IMAGES
