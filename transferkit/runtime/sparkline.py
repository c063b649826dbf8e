"""A curve as small as a word, for a line on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

HEIGHTS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float], width: int = 10) -> str:
    """One letter for each value, the lowest for the smallest; of more than `width` values the mean of each stretch.

    Example:
        >>> sparkline([0.1, 0.5, 0.3]), sparkline([0.4, 0.4]), sparkline([])
        ('▁█▄', '▁▁', '')
    """
    stretches = min(width, len(values))
    bounds = [round(number * len(values) / stretches) for number in range(stretches + 1)] if stretches else []
    means = [sum(values[low:high]) / (high - low) for low, high in pairwise(bounds)]
    low, high = min(means, default=0.0), max(means, default=0.0)
    steps = len(HEIGHTS) - 1
    return "".join(HEIGHTS[round(steps * (mean - low) / (high - low)) if high > low else 0] for mean in means)
