"""Refuses labels of a table that name no classes: several at once, or a quantity."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from transferkit.runtime.errors import TransferkitError, quoted
from transferkit.runtime.plurals import counted

SEPARATORS = ("|", ";", ",")
FEWEST_NUMBERS = 20  # different numbers, from which on they may be measurements
SHOWN = 4


def require_classes(table: Path, labels: Sequence[str]) -> None:
    """Refuse what a classifier of one class per image would learn to no use.

    Raises:
        TransferkitError: If labels combine classes, or are numbers that hardly repeat.
    """
    names = sorted(set(labels))
    for separator in SEPARATORS:
        _require_single(table, names, separator)
    _require_no_quantity(table, names, len(labels))


def _require_single(table: Path, names: Sequence[str], separator: str) -> None:
    """Fewer words than labels, or (for |) a word in two labels: combinations, not names."""
    parts = [[part.strip() for part in name.split(separator)] for name in names]
    words = [word for of_name in parts for word in dict.fromkeys(of_name)]
    combined = [name for name in names if separator in name]
    is_shared = separator == "|" and len(set(words)) < len(words)
    if combined and (is_shared or len(set(words)) < len(names)):
        raise TransferkitError(
            f"{table}: {len(combined)} of {counted(len(names), 'label')} combine several with {separator!r}: "
            f"{_listed(combined)}. "
            "Here an image has one class. Keep one of them per row, as by one CSV for each question, or write names "
            f"without {separator!r} if the combinations are the classes."
        )


def _require_no_quantity(table: Path, names: Sequence[str], rows: int) -> None:
    values = [_number(name) for name in names]
    if len(names) < FEWEST_NUMBERS or any(math.isnan(value) for value in values):
        return
    is_broken = any(value != round(value) for value in values if math.isfinite(value))
    if is_broken or 2 * len(names) > rows:
        raise TransferkitError(
            f"{table}: the labels are {len(names):,} different numbers in {counted(rows, 'row')} ({_listed(names)}): a "
            "quantity, not classes. Predicting a number is regression, which transferkit does not do. Divide the "
            "range into classes, as low, middle, high, or name the column of the class by --label-column."
        )


def _number(name: str) -> float:
    try:
        return float(name)
    except ValueError:
        return math.nan


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(quoted(name) for name in names[:SHOWN]) + more
