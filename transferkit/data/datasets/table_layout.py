"""Finds which files a CSV names for train, val and test, and which class and group each shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from transferkit.data.datasets import path_table
from transferkit.data.datasets.layout import LISTED, PARTS, File, Layout, Part, class_name, file_at, in_natural_order
from transferkit.runtime.errors import TransferkitError, did_you_mean, quoted

NEEDED = ("path", "label")  # columns of a CSV


def find(path: Path) -> Layout:
    """The layout that a CSV file describes, one row per image.

    Raises:
        TransferkitError: If its columns or rows are not such, or it names fewer than two classes.
    """
    rows = _rows(path)
    files: dict[str, list[File]] = {}
    for row in rows:
        file = file_at(str(path.parent / row.path), row.path, row.label, row.group)
        files.setdefault(row.part, []).append(file)
    if "train" not in files:
        raise TransferkitError(f"{path} has no row with split train. Expected train, val or test in the column split.")
    parts = {
        name: Part(tuple(of_part), in_natural_order({file.label for file in of_part}))
        for name, of_part in files.items()
    }
    names = parts["train"].class_names
    if len(names) < 2:
        raise TransferkitError(f"{path} has one class, {names[0]!r}; a classifier needs at least two.")
    has_groups = any(row.group for row in rows)
    return Layout(path.parent, parts["train"], parts.get("val"), parts.get("test"), (), has_groups)


class _Row(NamedTuple):
    """One line of a CSV; `group` is empty where the image stands for itself."""

    part: str
    path: str
    label: str
    group: str


def _rows(path: Path) -> list[_Row]:
    """Every row; all are train where there is no column split."""
    found = [_row(path, line, row) for line, row in path_table.rows(path, NEEDED)]
    if not found:
        raise TransferkitError(f"{path} has no rows below its header {','.join(NEEDED)}.")
    _require_once(path, [row.path for row in found])
    return found


def _row(path: Path, line: int, row: dict[str, str]) -> _Row:
    part = (row.get("split") or "train").lower()
    if not row["path"] or not row["label"]:
        raise TransferkitError(f"{path}, line {line}: path or label is missing. Expected path,label in every line.")
    if part not in PARTS:
        raise TransferkitError(f"{path}, line {line}: unknown split {quoted(part)}. {did_you_mean(part, PARTS)}")
    return _Row(PARTS[part], row["path"], class_name(row["label"]), row.get("group", ""))


def _require_once(path: Path, relatives: Sequence[str]) -> None:
    twice = [relative for relative, count in Counter(relatives).items() if count > 1]
    if twice:
        more = f" and {len(twice) - LISTED} more" if len(twice) > LISTED else ""
        raise TransferkitError(
            f"{path} names {len(twice)} files more than once: {', '.join(twice[:LISTED])}{more}. "
            "Keep one line per file, so that no image is in train and in test."
        )
