"""A CSV of image paths, read row by row; whatever is wrong with it is told with its line."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from transferkit.runtime.errors import TransferkitError, is_plain, quoted

COLUMNS = ("path", "label", "split", "part", "group")
LONGEST = 1000  # characters; file systems allow 255 per name


def rows(table: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Line and cells of COLUMNS in each row, without the spaces around them; a cell that is cut off is empty.

    Args:
        table: The file, in UTF-8.
        columns: That must be there.

    Raises:
        TransferkitError: If it is no CSV, lacks a column, or a cell is no path or name at all.
    """
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="")
            _require_columns(table, reader.fieldnames or (), columns)
            for row in reader:
                yield reader.line_num, _cells(table, reader.line_num, row)
    except (UnicodeDecodeError, csv.Error) as error:
        raise TransferkitError(f"{table} is no CSV file in UTF-8: {error}.") from error


def _require_columns(table: Path, header: Sequence[str], columns: Sequence[str]) -> None:
    missing = [column for column in columns if column not in header]
    if missing:
        raise TransferkitError(
            f"{table} has no column {' and no column '.join(missing)}; its first line is {quoted(','.join(header))}. "
            f"Expected a first line {','.join(columns)}, perhaps with more columns."
        )


def _cells(table: Path, line: int, row: dict[str, str]) -> dict[str, str]:
    """What stands below COLUMNS; nothing else of a table is looked at."""
    cells = {column: text.strip() for column, text in row.items() if column in COLUMNS}
    if strange := [text for text in cells.values() if not is_plain(text) or len(text) > LONGEST]:
        raise TransferkitError(
            f"{table}, line {line}: expected text of at most {LONGEST:,} characters without control characters; "
            f"found {quoted(strange[0])}."
        )
    return cells
