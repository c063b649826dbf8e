"""Checks a recipe's values and words each mistake with its key path and the nearest key."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from transferkit.recipe.backbone import ANY_BACKBONE, BACKBONE_MODELS, BackboneSettings
from transferkit.recipe.data import DATA_MODELS
from transferkit.recipe.menu import ChosenFrom
from transferkit.recipe.method import METHOD_MODELS
from transferkit.recipe.settings import RecipePart
from transferkit.runtime.errors import TransferkitError, all_of, did_you_mean, is_plain, quoted
from transferkit.runtime.expected_values import expected_value, is_our_own

_Model = TypeVar("_Model", bound=RecipePart)
LISTED = 20  # mistakes; of more, their number is told
ELSEWHERE = {"data": " Nor is there a folder or a file of this name."}  # what else could have been meant, by key
MENUS: Mapping[str, Mapping[str, type[RecipePart]]] = {  # groups whose name decides which keys they have
    "backbone": BACKBONE_MODELS,
    "method": METHOD_MODELS,
    "data": DATA_MODELS,
}
DEEPEST = 20  # groups within each other
LONGEST_TEXT = 4096  # characters of a value: no path is longer (Linux, PATH_MAX)


def checked(model: type[_Model], values: Mapping[str, Any], source: str) -> _Model:
    """A model with these values.

    Raises:
        TransferkitError: All mistakes at once, a line each, beginning with `source`.
    """
    if strange := list(dict.fromkeys(_strange(values, ()))):
        raise TransferkitError(_told(source, strange))
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problems = [_problem(model, detail) for detail in error.errors(include_url=False)]
        raise TransferkitError(_told(source, _joined(problems))) from error


def _told(source: str, problems: Sequence[str]) -> str:
    more = [f"and {len(problems) - LISTED} more mistakes."] if len(problems) > LISTED else []
    return "\n".join(f"{source}: {problem}" for problem in [*problems[:LISTED], *more])


def _strange(value: Any, keys: tuple[str, ...]) -> Iterator[str]:
    """A sentence for each text that no file can hold, no path can be or nobody meant; and for groups without end."""
    place = ".".join(keys)
    if len(keys) > DEEPEST:
        yield f"{quoted(place)}: more than {DEEPEST} groups within each other."
    elif isinstance(value, Mapping):
        for key, below in value.items():
            yield from _strange(str(key), (*keys, "a key"))
            yield from _strange(below, (*keys, str(key)[:LONGEST_TEXT]))
    elif isinstance(value, list | tuple):
        for number, below in enumerate(value):
            yield from _strange(below, (*keys, str(number)))
    elif isinstance(value, str | PurePath) and (reason := _unusable(str(value))):
        yield f"{place}: {reason}; found {quoted(str(value))}."


def _unusable(text: str) -> str:
    if len(text) > LONGEST_TEXT:
        return f"expected at most {LONGEST_TEXT:,} characters"
    if not is_plain(text):
        return "expected text in UTF-8 without control characters (rename a file that has other signs in its name)"
    return ""


@dataclass(frozen=True)
class _Problem:
    """One of pydantic's errors; where a key may hold several kinds of values, each is reported by itself."""

    place: str
    expected: str
    value: str = ""


def _joined(problems: Iterable[_Problem]) -> list[str]:
    """A sentence for each place and what was found there, with all that could stand there instead."""
    ways: dict[tuple[str, str], list[str]] = {}
    for problem in dict.fromkeys(problems):
        ways.setdefault((problem.place, problem.value), []).append(problem.expected)
    return [f"{place}{' or '.join(expected)}{value}" for (place, value), expected in ways.items()]


def _problem(model: type[RecipePart], detail: Any) -> _Problem:
    """One of pydantic's errors: key path, what came, what was expected."""
    keys, group = _walk(model, detail["loc"])
    path, whole = quoted(".".join(keys))[1:-1], quoted(".".join(keys))
    match detail["type"]:
        case "extra_forbidden":
            return _Problem(f"unknown key {whole}. ", _meant(keys, model) or _nearest(keys, group, model))
        case "missing":
            return _Problem(f"key {whole} is missing.", "")
        case "union_tag_invalid":
            expected = re.findall(r"'([^']+)'", detail["ctx"]["expected_tags"])
            advice = f"{did_you_mean(detail['ctx']['tag'], expected)}{ELSEWHERE.get(path, '')}"
            return _Problem(f"unknown {path} {quoted(detail['ctx']['tag'])}. ", advice)
        case "union_tag_not_found":
            return _Problem(f"key '{path}.name' is missing: it says which {path} to use.", "")
        case _ if is_our_own(detail):
            return _Problem(f"{path or 'recipe'}: {expected_value(detail)}", "")
        case _:
            place, value = f"{path or 'recipe'}: expected ", f"; found {quoted(detail['input'])}."
            return _Problem(place, expected_value(detail), value)


def _meant(keys: Sequence[str], model: type[RecipePart]) -> str:
    """The sentence for a key that belongs into a group, as `epochs` into `method`."""
    groups: dict[str, Iterable[type[RecipePart]]] = {
        "backbone": (BackboneSettings,),
        "method": METHOD_MODELS.values(),
        "data": DATA_MODELS.values(),
    }
    if len(keys) > 1 or not groups.keys() <= model.model_fields.keys():
        return ""
    matching = [name for name, models in groups.items() for of_group in models if keys[0] in of_group.model_fields]
    return f"Did you mean '{matching[0]}.{keys[0]}'?" if matching else ""


def _nearest(keys: Sequence[str], group: Sequence[str], model: type[RecipePart]) -> str:
    """Whose key it is, as `C` is one of probe; or the nearest one, of this group or of the recipe."""
    *above, key = keys
    menu = MENUS.get(above[-1], {}) if above else {}
    if owners := [name for name, settings in menu.items() if key in settings.model_fields]:
        return f"{all_of(group)} {key} is a key of {', '.join(owners)}."
    return did_you_mean(key, group, also=model.model_fields if menu else ())


def _walk(model: type[RecipePart], location: Sequence[str | int]) -> tuple[list[str], list[str]]:
    """The key path a user wrote, without pydantic's union tags, and the valid keys of its last group."""
    keys: list[str] = []
    group: Any = model
    valid: list[str] = list(model.model_fields)
    for item in location:
        if group is None or (get_origin(group) in (Union, UnionType) and not _members(group)):
            break
        members = [member for member in _members(group) if _tag(member) == item]
        if members:
            group = members[0]
            valid = list(group.model_fields)
            continue
        keys.append(str(item))
        if isinstance(group, type) and issubclass(group, BaseModel):
            valid = list(group.model_fields)
            group = _group_of(group.model_fields.get(str(item)))
        else:
            group = next(iter(get_args(group)[not isinstance(item, int) :]), None)  # of a tuple, or of a mapping
    return keys, valid


def _group_of(field: FieldInfo | None) -> Any:
    """What a key may hold; None for an unknown one."""
    if field is None:
        return None
    menus = [mark for mark in field.metadata if isinstance(mark, ChosenFrom)]
    return Union[menus[0].models] if menus else field.annotation  # noqa: UP007 - made from a tuple


def _members(annotation: Any) -> list[Any]:
    """The models of a (perhaps annotated) union, perhaps annotated themselves."""
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    members = [get_args(part)[0] if get_origin(part) is Annotated else part for part in get_args(annotation)]
    return [member for member in members if isinstance(member, type) and issubclass(member, BaseModel)]


def _tag(model: type[BaseModel]) -> str | None:
    field = model.model_fields.get("name")
    return next(iter(get_args(field.annotation)), ANY_BACKBONE) if field else None
