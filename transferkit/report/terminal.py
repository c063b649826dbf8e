"""The verdict on the terminal: at most 50 lines of 80 columns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from transferkit.metrics.results import ClassResult, Scores
from transferkit.metrics.statistics import Bounds
from transferkit.report import layers, sentences
from transferkit.report import number_words as words
from transferkit.report.content import Content
from transferkit.report.headline import explanation, headline
from transferkit.report.short_names import shortened

TABLE_UP_TO = 20  # classes; of more, the worst ones are shown
WORST = 10
COLUMNS = 80
TRUE_PREDICTED = "true \\ predicted"
LONGEST = 60  # letters of a class name, which may take more than one line; of longer ones the middle is left out
MATRIX_UP_TO = 12  # classes whose matrix fits into 80 columns
STEPS = 3  # of the next ones; the page has the others
BOTH_UP_TO = 10  # classes for which table and matrix fit into 50 lines together


def verdict(content: Content, path: str) -> RenderableType:
    """One sentence, the classes, the matrix, the confusions, and where the page is."""
    parts: list[RenderableType] = [Text(plain(headline(content)), style="bold")]
    scores = content.scores
    parts.append(Text(plain(" ".join(explanation(content)))))
    if scores and layers.rows_of(content):
        parts += [Text(), layers.table(content), Text(), *(Text(plain(line)) for line in layers.sentences(content))]
        parts += [Text(plain(line), style="dim") for line in layers.caveats(content)]
    elif scores:
        parts += [Text(line) for line in sentences.neighbours_in_words(content)]
        classes = len(scores.per_class)
        parts += [Text(), class_table(scores.per_class)]
        if classes > TABLE_UP_TO:
            parts.append(Text(f"The {WORST} classes with the lowest recall, of {classes:,}.", style="dim"))
        if classes <= MATRIX_UP_TO:
            parts += [Text(), matrix_table(content.confusion, content.class_names)]
        parts += [Text(), *(Text(line) for line in pairs(scores))]
    parts.append(Text(plain(sentences.openings(content))))
    if scores:
        parts += [Text(), *what_next(content)]
    parts.append(Text(f"Report: {plain(path)}"))
    if Path(path).is_file():
        parts.append(unwrapped(f"  {Path(path).resolve().as_uri()}"))  # which a terminal opens by a click
    return Group(*parts)


def unwrapped(text: str, style: str = "") -> Text:
    """What is to be clicked or copied as a whole, wider than the screen if need be."""
    return Text(plain(text), style=style, no_wrap=True, overflow="ignore")


def what_next(content: Content) -> list[Text]:
    """The box of next steps, each with its command; findings that find no room are counted."""
    lines = [Text("What next", style="bold")]
    for step in content.next_steps[:STEPS]:
        code = f"{step.code} " if step.code else ""
        lines.append(Text.assemble("- ", (code, "bold"), plain(step.words)))
        typed = f"{content.place}/{step.page}" if step.page else step.command
        lines += [unwrapped(f"  {typed}", "cyan")] if typed else []
    if (more := len(content.findings) - STEPS) > 0:
        lines.append(Text(f"{more} more found by checks, on the page.", style="dim"))
    return lines


def pairs(scores: Scores) -> list[str]:
    """The most confused pairs in words; short where table and matrix leave little room."""
    classes = len(scores.per_class)
    limit = 1 if BOTH_UP_TO < classes <= MATRIX_UP_TO else 3
    return [
        f"“{plain(pair.true, LONGEST)}” predicted as “{plain(pair.predicted, LONGEST)}”: "
        f"{pair.n:,} ({words.percent(pair.share)})"
        for pair in scores.most_confused[:limit]
    ] or ["No test image was predicted as another class."]


def class_table(rows: Sequence[ClassResult]) -> Table:
    """n, recall, precision and F1 of every class, or of the worst ones."""
    if len(rows) > TABLE_UP_TO:
        rows = sorted(rows, key=lambda row: 2.0 if row.recall is None else row.recall)[:WORST]
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("class", overflow="fold")
    for title in ("n", "recall, %", "precision, %", "F1, %"):
        table.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(Text(plain(row.name, LONGEST)), f"{row.n:,}", *(_share(*share) for share in row.shares))
    return table


def _share(share: float | None, interval: Bounds | None) -> Text:
    if share is None:
        return Text("–", style="dim")
    return Text.assemble(f"{100 * share:.1f} ", (words.percent_interval(interval), "dim"))


def matrix_table(confusion: npt.NDArray[np.int64], names: list[str]) -> Table:
    """The confusion matrix; columns are the predicted classes in the order of the rows."""
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 1, 0, 0))
    width = max(len(TRUE_PREDICTED), COLUMNS - 5 * len(names) - 1)
    table.add_column(TRUE_PREDICTED, no_wrap=True, max_width=width)
    for title in column_titles(names):
        table.add_column(Text(title), justify="right", no_wrap=True)
    for index, (name, counts) in enumerate(zip(names, confusion.tolist(), strict=True)):
        cells = [Text(_count(n), style=_style(index == column, n)) for column, n in enumerate(counts)]
        table.add_row(Text(plain(name, width)), *cells)
    return table


def column_titles(names: list[str]) -> list[str]:
    """Four letters of each name where these tell the classes apart, else numbers.

    Example:
        >>> column_titles(["airplane", "automobile"]), column_titles(["class 1", "class 2"])
        (['airp', 'auto'], ['1', '2'])
    """
    short = [plain(name)[:4].strip() for name in names]
    wide = any(Text(title).cell_len > 4 for title in short)
    if len(set(short)) == len(names) and all(short) and not wide:
        return short
    return [str(index + 1) for index in range(len(names))]


def _count(n: int) -> str:
    return "·" if n == 0 else (str(n) if n < 10_000 else f"{n // 1000}k")


def _style(is_hit: bool, n: int) -> str:
    return "dim" if n == 0 else ("bold" if is_hit else "")


def plain(text: str, limit: int | None = None) -> str:
    """The text without anything that moves a terminal's cursor or hides what follows, cut in the middle if long."""
    safe = "".join(letter if letter.isprintable() else "�" for letter in text)
    return safe if limit is None else shortened(safe, limit)
