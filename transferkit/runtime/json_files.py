"""JSON files, read with the shape that they should have: damage is an error that names the file and the place."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from transferkit.runtime.errors import TransferkitError, quoted

SCHEMAS = {  # of files of results; counts up when the same name means another number
    "evaluation.json": 1,
    "comparison.json": 3,  # before 3, p looked at the first seed alone
    "ranking.json": 2,  # before 2, pairs were compared as if folds had no training images in common
    "limits.json": 3,  # before 2, copies of the run's own images counted; before 3, keys had other names
    "limits-comparison.json": 2,  # before 2, p and interval of an accuracy came from two computations
}


AGAIN = {  # what to type where the schema is another
    "evaluation.json": "transferkit run with its recipe.yaml and --out NEW-FOLDER",
    "comparison.json": "the same command with --overwrite, or transferkit compare RUN RUN ... --out NEW-FOLDER over "
    "its finished runs",
    "ranking.json": "the same command with --overwrite; stored features are used again",
    "limits.json": "transferkit limits with the same run and options and --overwrite; what the network said is kept",
    "limits-comparison.json": "transferkit limits RUN RUN ... with the same options and --overwrite",
}


MEND = " Copy it back from where the run was made, or make the run again."  # of a damaged file


Shape = (
    Any  # a type; None; a test; a tuple of shapes to choose from; [shape of every item]; {key: shape, "key?": shape}
)


def positive(value: Any) -> bool:
    """Whether it is a whole number above zero."""
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def share(value: Any) -> bool:
    """Whether it is a part of a whole, or all of it."""
    return not misfit(value, float) and 0 < value <= 1


MAYBE = (None, float)


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


def read_object(path: Path, shape: Shape) -> dict[str, Any]:
    """The object in a JSON file, in which at least the keys of its shape hold what they should.

    Raises:
        TransferkitError: If the file is damaged; says where.
    """
    value = read_json(path)
    if problem := misfit(value, shape):
        raise TransferkitError(f"{path} is damaged: {problem}.{MEND}")
    return dict(value)


def read_result(path: Path) -> dict[str, Any]:
    """The object in a JSON file of results, whose numbers mean what those of this version mean; see `SCHEMAS`.

    Raises:
        TransferkitError: If it has another schema; says to make it again.
    """
    result, schema = read_object(path, {"schema": int}), SCHEMAS[path.name]
    if result["schema"] == schema:
        return result
    whose = "a newer" if result["schema"] > schema else "an earlier"
    raise TransferkitError(
        f"{path} was written by {whose} version of transferkit (schema {result['schema']}, here {schema}), which "
        f"computed its numbers in another way. Make it again: {AGAIN[path.name]}."
    )


def read_line_objects(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
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


def misfit(value: Any, shape: Shape, place: str = "") -> str:
    """What is wrong with a value, and where; empty where it has this shape.

    Example:
        >>> misfit({"input": {"size": "x"}}, {"input": {"size": int}})
        "input.size is 'x', expected int"
    """
    match shape:
        case dict():
            return _misfit_of_object(value, shape, place)
        case tuple():
            misfits = [misfit(value, choice, place) for choice in shape]
            return "" if "" in misfits else misfits[-1]
        case list():
            if not isinstance(value, list):
                return _words(value, "a list", place)
            return next(filter(None, (misfit(item, shape[0], f"{place}.{at}") for at, item in enumerate(value))), "")
        case None:
            return "" if value is None else _words(value, "null", place)
        case _:
            return "" if _is(value, shape) else _words(value, shape.__name__.replace("_", " "), place)


def _misfit_of_object(value: Any, shape: Mapping[str, Shape], place: str) -> str:
    if not isinstance(value, dict) or (not shape and value):
        return _words(value, "an object", place)
    named = {key.removesuffix("?"): below for key, below in shape.items() if key != "*"}
    missing = [key for key in shape if key not in value and not key.endswith("?") and key != "*"]
    if missing:
        return f"{f'{place}.{missing[0]}'.lstrip('.')} is missing"
    checked = ((key, below, named.get(key, shape.get("*", object))) for key, below in value.items())
    return next(filter(None, (misfit(below, wanted, f"{place}.{key}") for key, below, wanted in checked)), "")


def _is(value: Any, shape: type | Callable[[Any], bool]) -> bool:
    if not isinstance(shape, type):
        return shape(value)
    if shape is float:  # JSON writes 1.0 as 1 now and then
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if isinstance(value, str) and any("\ud800" <= sign <= "\udfff" for sign in value):
        return False  # half a character, which no file can hold
    return isinstance(value, shape) and not (shape is int and isinstance(value, bool))


def _words(value: Any, expected: str, place: str) -> str:
    return f"{quoted(place.lstrip('.') or 'the whole')[1:-1]} is {quoted(value)}, expected {expected}"


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refuse(text)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"it holds {constant}")
