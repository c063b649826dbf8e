"""Tables as files for papers: LaTeX with booktabs, or CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.files import write_text

LATEX_SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "−": "--",
    "–": "--",
    "<": r"$<$",
}


@dataclass(frozen=True)
class PaperTable:
    """Cells as they are read; the first column is text, the others are numbers."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def write_table(table: PaperTable, path: Path) -> None:
    """Write a table; the suffix of its file decides the format.

    Raises:
        TransferkitError: If the format is unknown.
    """
    write = WRITERS.get(path.suffix.lower())
    if write is None:
        raise TransferkitError(f"Cannot write a table as {path.name!r}. Expected a name that ends in .tex or .csv.")
    write_text(path, write(table))


def latex(table: PaperTable) -> str:
    r"""A tabular for `\usepackage{booktabs}`.

    Example:
        >>> print(latex(PaperTable(["arm", "accuracy, %"], [["lr_3", "85.1 ± 0.4"]])))
        \begin{tabular}{lr}
        \toprule
        arm & accuracy, \% \\
        \midrule
        lr\_3 & 85.1 $\pm$ 0.4 \\
        \bottomrule
        \end{tabular}
        <BLANKLINE>
    """
    columns = "l" + "r" * (len(table.header) - 1)
    body = [_line(row) for row in table.rows]
    lines = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", _line(table.header), r"\midrule", *body]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _line(cells: Sequence[str]) -> str:
    escaped = ("".join(LATEX_SPECIAL.get(character, character) for character in cell) for cell in cells)
    return " & ".join(escaped) + r" \\"


def comma_separated(table: PaperTable) -> str:
    """The table as CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([table.header, *table.rows])
    return text.getvalue()


WRITERS: dict[str, Callable[[PaperTable], str]] = {".tex": latex, ".csv": comma_separated}
