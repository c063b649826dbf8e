"""What the early checks say of a data set that no run is made of."""

from __future__ import annotations

from transferkit.data.images import Splits
from transferkit.recipe import DigitsData
from transferkit.runs.checks.early import say_of_data
from transferkit.runs.run_data import run_data
from transferkit.runtime.console import SILENT


def found(splits: Splits, code: str = "TK") -> str:
    """The lines that begin with the code, joined; empty where its check is silent."""
    lines = say_of_data(run_data(DigitsData(name="digits"), splits), "RUN", SILENT)
    return "\n".join(line for line in lines if line.startswith(code))
