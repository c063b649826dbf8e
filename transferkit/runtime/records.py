"""Results as frozen dataclasses and as JSON: the one way between them, damage told with its file and place."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from transferkit.runtime.errors import TransferkitError, quoted
from transferkit.runtime.expected_values import expected_value
from transferkit.runtime.files import write_json, write_text
from transferkit.runtime.json_files import AGAIN, MEND, SCHEMAS, read_json, read_line_objects

Record = TypeVar("Record")
Measure = Annotated[float, BeforeValidator(lambda value: math.nan if value is None else value)]  # NaN is None in JSON

EXPECTED = {  # what pydantic expected, as our messages say it
    "int": "int",
    "float": "float",
    "string": "str",
    "bool": "bool",
    "dict": "an object",
    "dataclass": "an object",
    "list": "a list",
    "tuple": "a list",
    "finite": "float",
    "greater": "positive",
}


_adapter: Callable[[type], TypeAdapter[Any]] = cache(TypeAdapter)


def as_json(record: Any) -> Any:
    """A record as plain JSON: its fields as keys, None for numbers that are not defined, because JSON has no NaN.

    Example:
        >>> from transferkit.metrics.statistics import Interval
        >>> as_json(Interval(0.25, float("nan")))
        {'low': 0.25, 'high': None}
    """
    return without_nan(_adapter(type(record)).dump_python(record, mode="json", by_alias=True))


def without_nan(value: Any) -> Any:
    """The same with None for numbers that are not defined."""
    if isinstance(value, Mapping):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_record(path: Path, record: Any) -> None:
    """A record as a JSON file, atomically."""
    write_json(path, as_json(record))


def read_record(path: Path, kind: type[Record]) -> Record:
    """The record in a JSON file; keys that it does not know are passed over.

    Raises:
        TransferkitError: If the file is damaged; says where.
    """
    return from_json(read_json(path), kind, str(path), MEND)


@dataclass(frozen=True)
class ResultSchema:
    """What every file of results says of itself."""

    schema: int


def read_result(path: Path) -> Any:
    """The value in a JSON file of results, whose numbers mean what those of this version mean; see `SCHEMAS`.

    Raises:
        TransferkitError: If it is damaged or has another schema; says to make it again.
    """
    value, here = read_json(path), SCHEMAS[path.name]
    schema = from_json(value, ResultSchema, str(path), MEND).schema
    if schema == here:
        return value
    whose = "a newer" if schema > here else "an earlier"
    raise TransferkitError(
        f"{path} was written by {whose} version of transferkit (schema {schema}, here {here}), which "
        f"computed its numbers in another way. Make it again: {AGAIN[path.name]}."
    )


def read_result_record(path: Path, kind: type[Record]) -> Record:
    """The record in a JSON file of results whose numbers mean what those of this version mean.

    Raises:
        TransferkitError: If it is damaged or has another schema; says to make it again.
    """
    return from_json(read_result(path), kind, str(path), MEND)


def write_record_lines(path: Path, records: Iterable[Any]) -> None:
    """Records as a file that holds one per line, atomically."""
    write_text(path, "".join(json.dumps(as_json(record)) + "\n" for record in records))


def read_record_lines(path: Path, kind: type[Record]) -> list[Record]:
    """The records in a file that holds one per line.

    Raises:
        TransferkitError: Names the line that is damaged.
    """
    return [from_json(value, kind, place) for place, value in read_line_objects(path)]


def from_json(value: Any, kind: type[Record], place: str, mend: str = "") -> Record:
    """The record that a JSON value holds.

    Raises:
        TransferkitError: If it has another shape; names `place` and what is wrong in it, and says how to fix it.
    """
    try:
        record: Record = _adapter(kind).validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        first = min(error.errors(), key=lambda problem: problem["type"] != "missing")  # what is not there comes first
        raise TransferkitError(f"{place} is damaged: {_problem(first, value)}.{mend}") from error
    return record


def _problem(error: ErrorDetails, value: Any) -> str:
    """What is wrong with a value, and where.

    Example:
        >>> content = {"input": {"size": "x"}}
        >>> _problem({"type": "int_type", "loc": ("input", "size"), "msg": "", "input": "x"}, content)
        "input.size is 'x', expected int"
    """
    kind, place = error["type"], ".".join(_steps(error, value))
    if kind == "missing":
        return f"{place} is missing"
    if kind == "json_invalid":  # we wrote this JSON ourselves: all that UTF-8 cannot hold is half a character
        return "it holds half a character, which no text has"
    expected = EXPECTED.get(kind.split("_")[0], expected_value(error))
    return f"{quoted(place or 'the whole')[1:-1]} is {quoted(error['input'])}, expected {expected}"


def _steps(error: ErrorDetails, value: Any) -> Iterator[str]:
    """The keys and positions on the way to what is wrong, without the names of the kinds of record to choose from."""
    for step in error["loc"]:
        if step in (range(len(value)) if isinstance(value, list) else value if isinstance(value, dict) else ()):
            value = value[step]
            yield str(step)
    if error["type"] == "missing":
        yield str(error["loc"][-1])
