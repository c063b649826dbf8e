"""Names of classes and files that fit their place on a page."""

from __future__ import annotations

SHORT_NAME = 14  # characters of a name beside the matrix


def shortened(name: str, limit: int = SHORT_NAME) -> str:
    """The name, cut in the middle where it is longer than `limit` characters.

    Example:
        >>> shortened("a_very_long_class_name", 9)
        'a_ve…name'
    """
    if len(name) <= limit:
        return name
    head = limit // 2
    return f"{name[:head]}…{name[len(name) - (limit - 1 - head) :]}"
