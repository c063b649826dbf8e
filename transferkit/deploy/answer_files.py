"""Files of answers: .csv, .jsonl and .parquet, written row by row."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

from transferkit.deploy.answer_rows import AnswerRow
from transferkit.runtime.errors import TransferkitError, did_you_mean
from transferkit.runtime.optional_libraries import pyarrow

Cell = str | float | int | bool | None

PARQUET_ROWS = 4096  # written at a time


def require_known(path: Path) -> None:
    """Refuse a file that answers cannot be written to.

    Raises:
        TransferkitError: Says which file can; or that a library is missing.
    """
    if path.suffix not in WRITERS:
        raise TransferkitError(
            f"Answers cannot be written to {path.name!r}. {did_you_mean(path.suffix, WRITERS)} Give --out such a name."
        )
    if path.suffix == ".parquet":
        pyarrow()


def columns(top: int) -> dict[str, type]:
    """Names and types of the columns, with so many classes: class_1 is the likeliest."""
    classes = {f"{name}_{number}": kind for number in range(1, top + 1) for name, kind in RANKED.items()}
    return {"path": str, "answer": str, "probability": float, "unknown": bool, "unusual_percent": int} | {
        **classes,
        "error": str,
    }


RANKED = {"class": str, "probability": float}


def cells(row: AnswerRow, top: int) -> list[Cell]:
    """The values of a row, in the order of `columns`."""
    ranked: list[Cell] = list(chain.from_iterable(row.top))
    missing: list[Cell] = [None] * (2 * top - len(ranked))
    first: list[Cell] = [row.path, row.answer, row.probability, row.unknown, row.unusual_percent]
    return [*first, *ranked, *missing, row.error]


def write_csv(path: Path, rows: Iterable[AnswerRow], top: int) -> None:
    """One line per image; empty where there is nothing to say."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns(top))
        for row in rows:
            writer.writerow([_text(cell) for cell in cells(row, top)])


def _text(cell: Cell) -> Cell:
    return str(cell).lower() if isinstance(cell, bool) else cell


def write_jsonl(path: Path, rows: Iterable[AnswerRow], top: int) -> None:  # noqa: ARG001
    """One object per line; `top` is a list of objects, each a class with its probability."""
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            classes = [{"class": name, "probability": probability} for name, probability in row.top]
            file.write(json.dumps({**vars(row), "top": classes}, ensure_ascii=False) + "\n")


def write_parquet(path: Path, rows: Iterable[AnswerRow], top: int) -> None:
    """The columns of the CSV, with their types."""
    arrow: Any = pyarrow()
    types = {str: arrow.string(), float: arrow.float64(), int: arrow.int64(), bool: arrow.bool_()}
    schema = arrow.schema([(name, types[kind]) for name, kind in columns(top).items()])
    with arrow.parquet.ParquetWriter(path, schema) as writer:
        for some in _batches(rows):
            values = zip(*(cells(row, top) for row in some), strict=True)
            arrays = [arrow.array(column, kind) for column, kind in zip(values, schema.types, strict=True)]
            writer.write_table(arrow.Table.from_arrays(arrays, schema=schema))


def _batches(rows: Iterable[AnswerRow]) -> Iterator[list[AnswerRow]]:
    source = iter(rows)
    while some := list(islice(source, PARQUET_ROWS)):
        yield some


WRITERS: dict[str, Callable[[Path, Iterable[AnswerRow], int], None]] = {
    ".csv": write_csv,
    ".jsonl": write_jsonl,
    ".parquet": write_parquet,
}
