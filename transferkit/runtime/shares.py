"""Shares as per cent, in words that every room uses alike."""

from __future__ import annotations


def percent(share: float | None) -> str:
    """A share in [0, 1] as per cent, for reading.

    Example:
        >>> percent(0.8512), percent(0.0004), percent(0.9996), percent(None)
        ('85.1 %', '< 0.1 %', '> 99.9 %', '–')
    """
    if share is None:
        return "–"
    if 0 < share < 0.001:
        return "< 0.1 %"
    return "> 99.9 %" if 0.999 < share < 1 else f"{100 * share:.1f} %"
