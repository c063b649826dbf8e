"""JSON files, and what the files of results are called in which schema: damage is an error that names the file."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

from transferkit.runtime.errors import TransferkitError, quoted

JsonValue: TypeAlias = "bool | int | float | str | Sequence[JsonValue] | JsonObject | None"
JsonObject: TypeAlias = "Mapping[str, JsonValue]"

SCHEMAS = {  # of files of results; counts up when the same name means another number
    "evaluation.json": 1,
    "comparison.json": 3,  # before 3, p looked at the first seed alone
    "ranking.json": 2,  # before 2, pairs were compared as if folds had no training images in common
    "limits.json": 3,  # before 2, copies of the run's own images counted; before 3, keys had other names
    "limits-comparison.json": 2,  # before 2, p and interval of an accuracy came from two computations
    "tuning.json": 1,
}


AGAIN = {  # what to type where the schema is another
    "evaluation.json": "transferkit run with its recipe.yaml and --out NEW-FOLDER",
    "comparison.json": "the same command with --overwrite, or transferkit compare RUN RUN ... --out NEW-FOLDER over "
    "its finished runs",
    "ranking.json": "the same command with --overwrite; stored features are used again",
    "limits.json": "transferkit limits with the same run and options and --overwrite; the stored outputs are reused",
    "limits-comparison.json": "transferkit limits RUN RUN ... with the same options and --overwrite",
    "tuning.json": "the same command with --overwrite",
}


MEND = " Copy it back from where the run was made, or make the run again."  # of a damaged file


def read_json(path: Path) -> Any:
    """The value in a JSON file.

    Raises:
        TransferkitError: If the file is missing, cut off, nested without end, or otherwise no JSON; NaN is none.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse, parse_float=_finite)
    except OSError as error:
        raise TransferkitError(f"Cannot read {path}: {error.strerror}.") from error
    except ValueError as error:
        raise TransferkitError(f"{path} is no JSON: {error}.") from error
    except RecursionError as error:
        raise TransferkitError(f"{path} is no JSON of ours: it is nested too deeply.") from error


def read_line_objects(path: Path) -> Iterator[tuple[str, JsonObject]]:
    """Each line's object in a file that holds one per line, after the words for where it stands.

    Raises:
        TransferkitError: Names the line that holds none.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TransferkitError(f"Cannot read {path}: {error}.") from error
    for number, line in enumerate(lines, start=1):
        try:
            value = dict(json.loads(line, parse_constant=_refuse, parse_float=_finite))
        except (ValueError, TypeError, RecursionError) as error:
            raise TransferkitError(f"{path}, line {number} is damaged: {quoted(line)}.") from error
        yield f"{path}, line {number}", value


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refuse(text)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"it holds {constant}")
