"""Numbers as a person reads them: shares, intervals, differences, p-values and times."""

from __future__ import annotations

from collections.abc import Sequence

from transferkit.runtime.plurals import counted
from transferkit.runtime.shares import percent as percent


def rounded_percent(share: float) -> str:
    """A share in [0, 1] as whole per cent, with a decimal below 10 %, for running text.

    Example:
        >>> rounded_percent(0.823), rounded_percent(0.0004), rounded_percent(0.9996)
        ('82 %', '< 0.1 %', '> 99.9 %')
    """
    return f"{100 * share:.0f} %" if 0.1 <= share <= 0.999 or share in (0, 1) else percent(share)


def percent_interval(interval: Sequence[float] | None) -> str:
    """An interval of shares as per cent, for reading.

    Example:
        >>> percent_interval((0.844, 0.858))
        '84.4–85.8'
    """
    return "" if interval is None else f"{100 * interval[0]:.1f}–{100 * interval[1]:.1f}"


def points(mean: float, interval: Sequence[float]) -> str:
    """A difference in accuracy with its interval, in points.

    Example:
        >>> points(0.031, (0.012, 0.05))
        '+3.1 (+1.2 to +5.0)'
    """
    low, high = (100 * bound for bound in interval)
    return f"{100 * mean:+.1f} ({low:+.1f} to {high:+.1f})"


def p_value(p: float) -> str:
    """A p-value for reading.

    Example:
        >>> p_value(0.0312), p_value(1e-9)
        ('0.031', '< 0.001')
    """
    return "< 0.001" if p < 0.001 else f"{p:.2g}"


def age(seconds: float | None) -> str:
    """How long ago something was, in one unit.

    Example:
        >>> [age(seconds) for seconds in (20, 300, 7200, 200_000, 40 * 86_400, None)]
        ['just now', '5 min ago', '2 h ago', '2 days ago', '40 days ago', '–']
    """
    if seconds is None:
        return "–"
    if seconds < 60:
        return "just now"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min ago"
    return f"{seconds / 3600:.0f} h ago" if seconds < 172_800 else f"{seconds / 86_400:.0f} days ago"


def sample_size(n: int, groups: int | None, of: str = "") -> str:
    """How many images, and in how many groups.

    Example:
        >>> sample_size(160, 20, " test images"), sample_size(160, None)
        ('n = 160 test images in 20 groups', 'n = 160')
    """
    return f"n = {n:,}{of}" + ("" if groups is None else f" in {counted(groups, 'group')}")
