"""The key `method.augment`: names, strengths and policies of what training does to its images, in any written form."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from transferkit.runtime.errors import did_you_mean, quoted
from transferkit.runtime.json_files import JsonObject, JsonValue

FROM_PYTHON = "python:"  # in a recipe's file, before the name of a function that was given in Python
EXAMPLE = "Write rotation=15,colour=0.4 or trivial."


@dataclass(frozen=True)
class Strength:
    """One entry of the menu.

    Attributes:
        function: Module of `data.augmentation` and the function's name.
        usual: Strength where none is given.
        off: Strength that leaves images as they are.
        bounds: Lowest and highest.
        means: What the number says.
        needs_colours: Whether it makes sense of red, green and blue only.
    """

    function: str
    usual: float
    off: float
    bounds: tuple[float, float]
    means: str
    needs_colours: bool = False


AUGMENTATIONS: dict[str, Strength] = {
    "crop": Strength("geometry.crop", 0.08, 1, (0.01, 1), "smallest share of the area that a random crop keeps"),
    "rotation": Strength("geometry.rotation", 15, 0, (0, 180), "largest angle in degrees, either way"),
    "vertical_flip": Strength("geometry.vertical_flip", 0.5, 0, (0, 1), "share of images turned upside down, mirrored"),
    "quarter_turns": Strength("geometry.quarter_turns", 0.75, 0, (0, 1), "share turned by 90, 180 or 270 degrees"),
    "colour": Strength(
        "colour.colour", 0.4, 0, (0, 1), "largest change of brightness, contrast and saturation; of hue a quarter", True
    ),
    "grey": Strength("colour.grey", 0.2, 0, (0, 1), "share of images made grey", True),
    "blur": Strength("detail.blur", 1, 0, (0, 20), "largest sigma of a Gaussian, in px of the stored image"),
    "erasing": Strength("detail.erasing", 0.25, 0, (0, 1), "share of images that lose a rectangle"),
    "randaugment": Strength(
        "policies.randaugment", 9, 0, (0, 30), "magnitude, up to 30, of two operations of fourteen", True
    ),
    "trivial": Strength("policies.trivial", 1, 0, (0, 1), "share of the widest range; one operation of fourteen", True),
}
POLICIES: dict[str, dict[str, float]] = {
    "imagenet": {"crop": 0.08, "colour": 0.4},  # torchvision's and timm's for ImageNet, mirroring apart
    "deit": {"crop": 0.08, "randaugment": 9, "erasing": 0.25},  # Touvron et al. 2021, table 9, without mixing
    "simclr": {"crop": 0.08, "colour": 0.8, "grey": 0.2, "blur": 2},  # Chen et al. 2020, appendix A
    "overhead": {"vertical_flip": 0.5, "quarter_turns": 0.75},  # from above, or through a microscope
}


def read_augment(value: Any) -> Any:
    """The strengths by name, in order, that any form of the key means; a function of one's own as it is.

    Raises:
        ValueError: If a name is unknown or there twice, or a strength is no number within its bounds.

    Example:
        >>> read_augment("rotation, colour=0.2")
        {'rotation': 15.0, 'colour': 0.2}
    """
    if callable(value) or (isinstance(value, str) and value.startswith(FROM_PYTHON)):
        return value
    if value is None or value == "none":
        return {}
    strengths: dict[str, float] = {}
    for name, strength in _pairs(value):
        for entry, amount in _expanded(name, strength):
            if entry in strengths:
                raise ValueError(f"augment has {entry} twice. Leave one of them out.")
            strengths[entry] = amount
    return strengths


def _pairs(value: Any) -> Iterable[tuple[str, Any]]:
    """Names with their strengths, None where none is given."""
    if isinstance(value, Mapping):
        return [(str(name), strength) for name, strength in value.items()]
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, (list, tuple)):
        raise ValueError(f"augment is {quoted(value)}. {EXAMPLE}")
    pairs: list[tuple[str, Any]] = []
    for part in parts:
        if isinstance(part, Mapping):
            pairs += _pairs(part)
        else:
            name, equals, strength = str(part).partition("=")
            pairs.append((name.strip(), strength if equals else None))
    return pairs


def _expanded(name: str, strength: Any) -> Iterable[tuple[str, float]]:
    """One entry of the menu with its strength, or those of a policy."""
    if name in POLICIES:
        if strength is not None:
            raise ValueError(f"{name} is a policy without a strength. Write {name}, or its parts: {_written(name)}.")
        return POLICIES[name].items()
    if name not in AUGMENTATIONS:
        menu = (*AUGMENTATIONS, *POLICIES)
        raise ValueError(f"Unknown augmentation {quoted(name)}. {did_you_mean(name, menu, limit=len(menu))}")
    return [(name, _amount(name, strength))]


def _written(policy: str) -> str:
    return ",".join(f"{name}={strength:g}" for name, strength in POLICIES[policy].items())


def _amount(name: str, strength: Any) -> float:
    entry = AUGMENTATIONS[name]
    if strength is None:
        return float(entry.usual)
    try:
        amount = math.nan if isinstance(strength, bool) else float(strength)
    except (TypeError, ValueError):
        amount = math.nan
    low, high = entry.bounds
    if not low <= amount <= high:
        raise ValueError(
            f"{name}={strength} is no strength from {low:g} to {high:g}: the {entry.means}. {entry.usual:g} is usual."
        )
    return amount


def augment_in_words(augment: Any) -> str:
    """The key as it is typed; empty where there is nothing.

    Example:
        >>> augment_in_words({"rotation": 15.0, "trivial": 1.0})
        'rotation=15, trivial=1'
    """
    if isinstance(augment, Mapping):
        return ", ".join(f"{name}={strength:g}" for name, strength in augment.items())
    return str(_serialised(augment)).removeprefix(FROM_PYTHON)


def function_name(function: Callable[..., Any]) -> str:
    """What a function, or an object that can be called, is called in a recipe's file.

    Example:
        >>> function_name(math.fsum)
        'python:math.fsum'
    """
    kind = function if hasattr(function, "__qualname__") else type(function)
    return f"{FROM_PYTHON}{kind.__module__}.{kind.__qualname__}"


def _serialised(value: Any) -> Any:
    return function_name(value) if callable(value) else value


def _schema() -> dict[str, JsonValue]:
    """What an editor is told of the key in a file."""
    strengths: dict[str, JsonValue] = {}
    for name, entry in AUGMENTATIONS.items():
        least, most = entry.bounds
        strengths[name] = {"type": "number", "description": entry.means, "minimum": least, "maximum": most}
    mapping: JsonObject = {"type": "object", "properties": strengths, "additionalProperties": False}
    return {"anyOf": [mapping, {"type": "array", "items": {"type": "string"}}, {"type": "string"}]}


Augment: TypeAlias = Annotated[
    Any,
    BeforeValidator(read_augment),
    PlainSerializer(_serialised),
    WithJsonSchema(_schema()),
]
