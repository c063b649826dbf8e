"""A table of image paths (CSV, TSV or JSON lines), read row by row; whatever is wrong with it is told with its line."""

from __future__ import annotations

import codecs
import csv
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from transferkit.runtime.errors import TransferkitError, is_plain, quoted
from transferkit.runtime.json_files import JsonObject

COLUMNS = ("path", "label", "split", "part", "group")
SAVE_AS_UTF_8 = "Save it again as “CSV UTF-8” in a spreadsheet, or as UTF-8 in an editor."
LOOKED_AT = 4096  # bytes, for how the text is written
LONGEST = 1000  # characters; file systems allow 255 per name
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}

Row = tuple[int, dict[str, str]]


def rows(table: Path, columns: Sequence[str], wanted: Sequence[str] = COLUMNS) -> Iterator[Row]:
    """Line and cells of the wanted columns in each row, without spaces around them; a cell that is cut off is empty.

    Args:
        table: The file, in UTF-8.
        columns: That must be there.
        wanted: That are read where they are there; nothing else of a table is looked at.

    Raises:
        TransferkitError: If it is no such table, lacks a column, or a cell is no path or name at all.
    """
    _require_columns(table, header(table), columns)
    for line, cells in _reader(table)(table, wanted):
        yield line, _plain(table, line, cells)


def header(table: Path) -> tuple[str, ...]:
    """The names of the columns.

    Raises:
        TransferkitError: If it is no table.
    """
    if _reader(table) is _json_lines:
        with _opened(table) as file:
            return next((tuple(_json_object(table, *line)) for line in enumerate(file, start=1) if line[1].strip()), ())
    with _opened(table) as file:
        return tuple(csv.DictReader(file, delimiter=delimiter(table)).fieldnames or ())


def delimiter(table: Path) -> str:
    """What separates the cells of a CSV: that of commas, semicolons and tabs which cuts the first line most often."""
    with _opened(table) as file:
        first = file.readline()
    cut = {sign: len(next(csv.reader([first], delimiter=sign), [])) for sign in DELIMITERS}
    return max(cut, key=lambda sign: cut[sign])


def _reader(table: Path) -> Callable[[Path, Sequence[str]], Iterator[Row]]:
    return _json_lines if table.suffix.lower() in (".jsonl", ".ndjson") else _csv_lines


def _csv_lines(table: Path, wanted: Sequence[str]) -> Iterator[Row]:
    sign = delimiter(table)
    with _opened(table) as file:
        reader = csv.DictReader(file, restval="", delimiter=sign)
        for row in reader:
            yield reader.line_num, {column: _text(cell) for column, cell in row.items() if column in wanted}


def _json_lines(table: Path, wanted: Sequence[str]) -> Iterator[Row]:
    with _opened(table) as file:
        for line, text in enumerate(file, start=1):
            if text.strip():
                row = _json_object(table, line, text)
                yield line, {column: _text(value) for column, value in row.items() if column in wanted}


def _json_object(table: Path, line: int, text: str) -> JsonObject:
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TransferkitError(
            f"{table}, line {line}: no JSON ({error}). Expected an object, as in "
            '{"file_name": "a.png", "label": "cat"}, in each line.'
        ) from error
    if not isinstance(row, dict):
        raise TransferkitError(f"{table}, line {line}: expected a JSON object, as {{...}}; found {quoted(text[:80])}.")
    return row


@contextmanager
def _opened(table: Path) -> Iterator[TextIO]:
    """The table as text; words what goes wrong while it is read."""
    _require_bytes_of_utf_8(table)
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            yield file
    except (UnicodeDecodeError, csv.Error) as error:
        raise TransferkitError(f"{table} is no CSV file in UTF-8: {error}. {SAVE_AS_UTF_8}") from error


def _require_bytes_of_utf_8(table: Path) -> None:
    """Refuse UTF-16, with or without a byte-order mark: of Latin text, every second byte of it is zero."""
    with table.open("rb") as file:
        start = file.read(LOOKED_AT)
    odd, even = start[1::2].count(0), start[::2].count(0)
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or max(odd, even) > len(start) / 4:
        raise TransferkitError(f"{table} is text in UTF-16; expected UTF-8. {SAVE_AS_UTF_8}")


def _require_columns(table: Path, names: Sequence[str], columns: Sequence[str]) -> None:
    missing = [column for column in columns if column not in names]
    if missing:
        raise TransferkitError(
            f"{table} has no column {' and no column '.join(missing)}; its first line is {quoted(','.join(names))}. "
            f"Expected a first line {','.join(columns)}, perhaps with more columns."
        )


def _plain(table: Path, line: int, cells: dict[str, str]) -> dict[str, str]:
    """The cells, refused where one is no path or name at all."""
    if strange := [text for text in cells.values() if not is_plain(text) or len(text) > LONGEST]:
        raise TransferkitError(
            f"{table}, line {line}: expected text of at most {LONGEST:,} characters without control characters; "
            f"found {quoted(strange[0])}."
        )
    return cells


def _text(cell: Any) -> str:
    """A cell of a CSV, or a value of JSON: a whole number as its digits, nothing as nothing."""
    return "" if cell is None else str(cell).strip()
