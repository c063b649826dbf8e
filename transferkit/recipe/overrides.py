"""Lays changes over a recipe's values: mapping by mapping, or `key.path=value`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from transferkit.recipe.backbone import expanded_backbone
from transferkit.recipe.data import expanded_data
from transferkit.recipe.method import expanded_method
from transferkit.recipe.yaml_text import DEEPEST, parse_yaml
from transferkit.runtime.errors import TransferkitError, quoted

SHORT_FORMS: dict[str, Callable[[Any], Any]] = {  # of a recipe's groups: a text that stands for a mapping
    "data": expanded_data,
    "backbone": expanded_backbone,
    "method": expanded_method,
}


def overridden(values: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """The values with each `key.path=value` laid over them; a value may contain `=`.

    Example:
        >>> overridden({"method": {"name": "finetune"}}, ["method.lr=1e-3"])
        {'method': {'name': 'finetune', 'lr': 0.001}}
    """
    result = dict(values)
    for override in overrides:
        keys, equals, text = override.partition("=")
        if not equals or not keys or keys.count(".") > DEEPEST:
            raise TransferkitError(
                f"Cannot read the override {quoted(override)}. Expected key.path=value, as in method.epochs=5."
            )
        change: Any = parse_yaml(text, f"override {quoted(override)}") if text else None
        for key in reversed(keys.split(".")):
            change = {key: change}
        result = merged(result, change)
    return result


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`changes` laid over `base`, mapping by mapping; another `name` in a group starts that group afresh."""
    result = spelt_out(base)
    for key, change in spelt_out(changes).items():
        below = result.get(key)
        if isinstance(below, Mapping) and isinstance(change, Mapping) and not _renamed(below, change):
            change = merged(below, change)
        result[key] = change
    return result


def spelt_out(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with each group in full that is there in its short form.

    Example:
        >>> spelt_out({"backbone": "resnet18=none", "seed": 1})
        {'backbone': {'name': 'resnet18', 'weights': 'none'}, 'seed': 1}
    """
    return {
        key: SHORT_FORMS[key](value) if key in SHORT_FORMS and isinstance(value, str) else value
        for key, value in values.items()
    }


def _renamed(below: Mapping[str, Any], change: Mapping[str, Any]) -> bool:
    return "name" in change and "name" in below and bool(change["name"] != below["name"])
