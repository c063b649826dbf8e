"""The table of parameter groups, a detail shown before the first step."""

from __future__ import annotations

from collections.abc import Sequence

from transferkit.runtime.console import Console
from transferkit.training import ParameterGroup


def show_groups(groups: Sequence[ParameterGroup], console: Console) -> None:
    """Print which stages are trained, at which rate, and in which state BatchNorm is."""
    if console.quiet or not console.verbose:
        return
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("stage", "parameters", "state", "lr", "weight decay", "BatchNorm"):
        table.add_column(title, justify="right" if title in ("parameters", "lr", "weight decay") else "left")
    for group in groups:
        rate, decay = (rates(group), f"{group.weight_decay:.2g}") if group.lr else ("-", "-")
        table.add_row(group.stage, f"{group.parameters:,}", group.state, rate, decay, group.batchnorm)
    console.show(table)


def rates(group: ParameterGroup) -> str:
    """The rate of its first and of its last layer, one number where they are the same."""
    last = f"{group.lr:.2g}"
    return last if group.first_lr == group.lr else f"{group.first_lr:.2g} to {last}"
