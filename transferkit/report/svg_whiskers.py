"""An accuracy or a difference with its interval, as a small inline SVG: classes only, coloured by the style sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

WHOLE = (0.0, 1.0)
STEP = 0.05  # of the ends of a track that is scaled to its column


def track_scale(intervals: Sequence[Sequence[float]]) -> tuple[float, float]:
    """The ends of the tracks of a column, round and as wide as its intervals need.

    Example:
        >>> track_scale([(0.72, 0.81), (0.88, 0.93)]), track_scale([])
        ((0.7, 0.95), (0.0, 1.0))
    """
    bounds = [bound for interval in intervals for bound in interval]
    if not bounds:
        return WHOLE
    low, high = math.floor(min(bounds) / STEP + 1e-9), math.ceil(max(bounds) / STEP - 1e-9)
    return max(0.0, round(low * STEP, 2)), min(1.0, round(max(high, low + 1) * STEP, 2))


def whisker(value: float, interval: Sequence[float], scale: tuple[float, float] = WHOLE) -> Markup:
    """A share as a dot with its interval, on a track over the scale."""
    low, middle, high = (
        100 * (share - scale[0]) / (scale[1] - scale[0]) for share in (interval[0], value, interval[1])
    )
    return Markup(
        '<svg class="whisker" viewBox="0 0 100 10" width="84" height="9" preserveAspectRatio="none" aria-hidden="true">'
        '<line class="track" x1="0" y1="5" x2="100" y2="5"/>'
        '<line class="range" x1="{:.1f}" y1="5" x2="{:.1f}" y2="5"/>'
        '<line class="dot" x1="{:.1f}" y1="1" x2="{:.1f}" y2="9"/></svg>'
    ).format(low, high, middle, middle)


def difference_whisker(value: float, interval: Sequence[float], extent: float) -> Markup:
    """A difference as a dot with its interval, on a track from -extent to +extent with zero in the middle.

    What goes on beyond the track ends in an arrow; a dot beyond it is not drawn.
    """
    low, middle, high = (50 + 50 * max(-1.0, min(1.0, bound / extent)) for bound in (interval[0], value, interval[1]))
    dot = Markup('<line class="dot" x1="{0:.1f}" y1="1" x2="{0:.1f}" y2="9"/>').format(middle)
    parts = [dot if abs(value) <= extent else Markup("")]
    parts += [Markup('<path class="cut" d="M0 5l5 -4v8z"/>')] if interval[0] < -extent else []
    parts += [Markup('<path class="cut" d="M100 5l-5 -4v8z"/>')] if interval[1] > extent else []
    return Markup(
        '<svg class="whisker" viewBox="0 0 100 10" width="140" height="12" preserveAspectRatio="none" '
        'aria-hidden="true"><line class="track" x1="0" y1="5" x2="100" y2="5"/>'
        '<line class="zero" x1="50" y1="0" x2="50" y2="10"/><line class="range" x1="{:.1f}" y1="5" x2="{:.1f}" y2="5"/>'
        "{}</svg>"
    ).format(low, high, Markup("").join(parts))
