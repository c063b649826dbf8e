"""Times as a person reads them."""

from __future__ import annotations


def duration(seconds: float | None) -> str:
    """Seconds for reading, in two digits and the unit that suits them.

    Example:
        >>> [duration(seconds) for seconds in (3.21, 40, 255, 1500, 9000, None)]
        ['3.2 s', '40 s', '4.2 min', '25 min', '2.5 h', '–']
    """
    if seconds is None:
        return "–"
    unit, length = ("s", 1) if seconds < 100 else ("min", 60) if seconds < 6000 else ("h", 3600)
    value = seconds / length
    return f"{value:.1f} {unit}" if value < 10 else f"{value:,.0f} {unit}"
