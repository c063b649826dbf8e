"""An accuracy or a difference with its interval, as a small inline SVG: classes only, coloured by the style sheet."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup


def whisker(value: float, interval: Sequence[float]) -> Markup:
    """A share in [0, 1] as a dot with its interval, on a track from 0 to 1."""
    low, high = (100 * bound for bound in interval)
    return Markup(
        '<svg class="whisker" viewBox="0 0 100 10" width="84" height="9" preserveAspectRatio="none" aria-hidden="true">'
        '<line class="track" x1="0" y1="5" x2="100" y2="5"/>'
        '<line class="range" x1="{:.1f}" y1="5" x2="{:.1f}" y2="5"/>'
        '<line class="dot" x1="{:.1f}" y1="1" x2="{:.1f}" y2="9"/></svg>'
    ).format(low, high, 100 * value, 100 * value)


def difference_whisker(value: float, interval: Sequence[float], extent: float) -> Markup:
    """A difference as a dot with its interval, on a track from -extent to +extent with zero in the middle."""
    low, middle, high = (50 + 50 * max(-1.0, min(1.0, bound / extent)) for bound in (interval[0], value, interval[1]))
    return Markup(
        '<svg class="whisker" viewBox="0 0 100 10" width="140" height="12" preserveAspectRatio="none" '
        'aria-hidden="true"><line class="track" x1="0" y1="5" x2="100" y2="5"/>'
        '<line class="zero" x1="50" y1="0" x2="50" y2="10"/><line class="range" x1="{:.1f}" y1="5" x2="{:.1f}" y2="5"/>'
        '<line class="dot" x1="{:.1f}" y1="1" x2="{:.1f}" y2="9"/></svg>'
    ).format(low, high, middle, middle)
