"""The tables of `transferkit backbones` and `transferkit datasets`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table


def listing(cards: Sequence[Any], columns: Sequence[str]) -> Table:
    """One row per card, one column per attribute; numbers stand right."""
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        numbers = all(isinstance(getattr(card, column), int | float | None) for card in cards)
        table.add_column(column.replace("_", " "), justify="right" if numbers else "left", overflow="fold")
    for card in cards:
        table.add_row(*(cell(getattr(card, column)) for column in columns))
    return table


def cell(value: Any) -> str:
    """A value as a reader writes it; fractions are accuracies.

    Example:
        >>> cell(11689512), cell(0.6976), cell(None), cell(True), cell((64, 55, 55))
        ('11,689,512', '69.8 %', '-', 'yes', '64x55x55')
    """
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return "x".join(map(str, value))
    if isinstance(value, float):
        return f"{100 * value:.1f} %"
    return f"{value:,}" if isinstance(value, int) else str(value)
