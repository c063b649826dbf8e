"""Finds which files a table names for train, val and test, and which class and group each shows."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from transferkit.data.datasets import path_table
from transferkit.data.datasets.layout import LISTED, PARTS, File, Layout, Part, class_name, file_at, in_natural_order
from transferkit.data.datasets.table_labels import require_classes
from transferkit.data.datasets.table_paths import Places
from transferkit.recipe import FolderData
from transferkit.runtime.errors import TransferkitError, did_you_mean, quoted
from transferkit.runtime.plurals import counted

NEEDED = ("path", "label")  # columns of a CSV
PATH_NAMES = ("path", "file_name", "filename", "image", "id")
LABEL_NAMES = ("label", "target", "class")
SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson")


def find(table: Path, settings: FolderData) -> Layout:
    """The layout that a table describes, one row per image.

    Raises:
        TransferkitError: If its columns or rows are not such, or it names fewer than two classes.
    """
    columns = _columns(table, settings)
    rows = _rows(table, columns)
    return layout_of_rows(table, rows, columns.notes(table))


def layout_of_rows(table: Path, rows: Sequence[Row], notes: Sequence[str]) -> Layout:
    """The layout of rows that were read already.

    Raises:
        TransferkitError: If files stand in several rows, labels name no classes, or train has fewer than two.
    """
    if not rows:
        raise TransferkitError(f"{table} has no rows below its header {','.join(NEEDED)}.")
    _require_once(table, rows)
    require_classes(table, [row.label for row in rows])
    places = Places(table)
    files: dict[str, list[File]] = {}
    for row in rows:
        path = places.resolve(row.path)
        files.setdefault(row.part, []).append(file_at(str(table.parent / path), path, row.label, row.group))
    if "train" not in files:
        raise TransferkitError(f"{table} has no row with split train. Expected train, val or test in the column split.")
    parts = {name: Part(tuple(of_part), _class_names(of_part)) for name, of_part in files.items()}
    names = parts["train"].class_names
    if len(names) < 2:
        raise TransferkitError(f"{table} has one class, {names[0]!r}; a classifier needs at least two.")
    has_groups = any(row.group for row in rows)
    all_notes = (*notes, *places.notes())
    return Layout(table.parent, parts["train"], parts.get("val"), parts.get("test"), all_notes, has_groups)


def _class_names(files: Sequence[File]) -> tuple[str, ...]:
    return in_natural_order({file.label for file in files})


# ------------------------------------------------------------------------------------------------------ columns


@dataclass(frozen=True)
class _Columns:
    """Which columns hold paths and labels."""

    path: str
    label: str

    def notes(self, table: Path) -> list[str]:
        """What was not as the documentation has it."""
        differences = []
        if (self.path, self.label) != NEEDED:
            differences.append(f"paths from the column {self.path}, labels from the column {self.label}")
        if table.suffix.lower() in (".csv", ".tsv") and (sign := path_table.delimiter(table)) != ",":
            differences.append(f"cells are separated by {path_table.DELIMITERS[sign]}")
        return [f"{table.name}: {', '.join(differences)}"] if differences else []


def _columns(table: Path, settings: FolderData) -> _Columns:
    """The columns that are asked for, or those of the usual names.

    Raises:
        TransferkitError: If there is none.
    """
    header = path_table.header(table)
    path = _column(table, header, settings.path_column, PATH_NAMES)
    label = _column(table, header, settings.label_column, LABEL_NAMES)
    if label not in header:
        _require_no_column_per_class(table, header, path)
    return _Columns(path, label)


def _column(table: Path, header: Sequence[str], asked: str | None, names: Sequence[str]) -> str:
    """The column that is asked for, or the first of the usual names that is there, or the first usual name."""
    if asked is not None and asked not in header:
        raise TransferkitError(f"{table} has no column {quoted(asked)}. {did_you_mean(asked, header)}")
    lower = {column.lower(): column for column in reversed(header) if column}
    return asked or next((lower[name] for name in names if name in lower), names[0])


def _require_no_column_per_class(table: Path, header: Sequence[str], path: str) -> None:
    """A column for every class with 0 and 1 in it."""
    others = [column for column in header if column and column != path]
    if len(others) < 2 or path not in header:
        return
    sample = [row for (_, row), _ in zip(path_table.rows(table, [path], others), range(100), strict=False)]
    if sample and all(row.get(column) in ("0", "1", "0.0", "1.0") for row in sample for column in others):
        raise TransferkitError(
            f"{table} has no column label but a column of 0 and 1 for each of {', '.join(others[:LISTED])}. Write the "
            "name of the image's one class into a column label; several classes in one image are not supported."
        )


# --------------------------------------------------------------------------------------------------------- rows


class Row(NamedTuple):
    """One line of a table; `group` is empty where the image stands for itself."""

    part: str
    path: str
    label: str
    group: str


def _rows(table: Path, columns: _Columns) -> list[Row]:
    """Every row; all are train where there is no column split."""
    needed = (columns.path, columns.label)
    return [
        _row(table, line, row, columns) for line, row in path_table.rows(table, needed, (*needed, "split", "group"))
    ]


def _row(table: Path, line: int, row: dict[str, str], columns: _Columns) -> Row:
    path, label = row.get(columns.path), row.get(columns.label)
    if not path or not label:
        raise TransferkitError(f"{table}, line {line}: path or label is missing. Expected path,label in every line.")
    return Row(part_named(row.get("split", ""), table, line), path, class_name(label), row.get("group", ""))


def part_named(split: str, table: Path, line: int) -> str:
    """Train, val or test, as a cell of the column split names it; train where it is empty.

    Raises:
        TransferkitError: If it is none of them.
    """
    part = (split or "train").lower()
    if part not in PARTS:
        raise TransferkitError(f"{table}, line {line}: unknown split {quoted(part)}. {did_you_mean(part, PARTS)}")
    return PARTS[part]


def _require_once(table: Path, rows: Sequence[Row]) -> None:
    files = [os.path.normpath(table.parent / row.path) for row in rows]  # however each line spells its path
    count = Counter(files)
    named = {file: row.path for file, row in zip(files, rows, strict=True) if count[file] > 1}
    if not named:
        return
    first, twice = next(iter(named)), list(named.values())
    labels = sorted({row.label for file, row in zip(files, rows, strict=True) if file == first})
    both = (
        f" {named[first]} has the labels {', '.join(labels[:LISTED])}; here an image has one class."
        if labels[1:]
        else ""
    )
    more = f" and {len(twice) - LISTED} more" if len(twice) > LISTED else ""
    raise TransferkitError(
        f"{table} names {counted(len(twice), 'file')} more than once: {', '.join(twice[:LISTED])}{more}.{both} "
        "Keep one line per file, so that no image is in train and in test."
    )
