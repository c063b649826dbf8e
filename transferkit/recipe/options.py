"""The recipe that a command's options, or a Python call's arguments, mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from transferkit.recipe.backbone import BackboneSettings, expanded_backbone
from transferkit.recipe.data import DATA_MODELS, expanded_data
from transferkit.recipe.experiment import Recipe, parse
from transferkit.recipe.method import METHOD_MODELS
from transferkit.recipe.overrides import merged, overridden
from transferkit.recipe.ranking import RankingRecipe, parse_ranking
from transferkit.recipe.tuning import TuningRecipe, parse_tuning, read_space
from transferkit.runtime.errors import TransferkitError, quoted


def from_options(
    method: str,
    backbone: str,
    data: str,
    options: Mapping[str, Any],
    overrides: Sequence[str],
    command: str = "",
) -> Recipe:
    """The recipe that a command or a Python call means; every option is a key of the recipe.

    Args:
        method: One of `METHOD_MODELS`.
        backbone: Name of the backbone.
        data: Name of a data set, or `folder:PATH`.
        options: Keys of data, backbone, method or recipe with their values; None stands for not given.
        overrides: `key.path=value`, applied last.
        command: What was typed, for the message about mistakes; default: the method's own command.

    Raises:
        TransferkitError: For all mistakes at once.
    """
    if options.get("weights") not in (None, "imagenet", "none") and not METHOD_MODELS[method].starts_from_pretrained:
        others = " or ".join(name for name, settings in METHOD_MODELS.items() if settings.starts_from_pretrained)
        raise TransferkitError(
            f"{method} starts from random weights, so weights {options['weights']!r} would be ignored. Leave them out, "
            f"or use {others}."
        )
    values = {"data": expanded_data(data), "backbone": {"name": backbone}, "method": {"name": method}}
    for key, value in options.items():
        if value is not None:
            group = option_group(key, method)
            values = merged(values, {group: {key: value}} if group else {key: value})
    return parse(overridden(values, overrides), command or f"transferkit {method}")


def option_group(key: str, method: str) -> str | None:
    """The group of the recipe that an option of a method's command belongs to; None for the recipe itself."""
    if key in BackboneSettings.model_fields:
        return "backbone"
    if key in METHOD_MODELS[method].model_fields:
        return "method"
    if is_data_key(key):
        return "data"
    return None if key in Recipe.model_fields else "method"


def is_data_key(key: str) -> bool:
    """Whether a data set has this key."""
    return any(key in model.model_fields for model in DATA_MODELS.values())


def ranking_from_options(
    backbones: Sequence[str], data: str, weights: Sequence[str], options: Mapping[str, Any]
) -> RankingRecipe:
    """The ranking that the command or the Python call means.

    Args:
        backbones: Each `NAME` or `NAME=WEIGHTS`.
        data: Name of a data set, or `folder:PATH`.
        weights: `NAME=WEIGHTS` for one backbone; anything else for all that have none of their own.
        options: Keys of data or ranking with their values; None stands for not given.

    Raises:
        TransferkitError: For all mistakes at once.
    """
    values = {
        "data": expanded_data(data),
        "backbones": [backbone.keys for backbone in weighted(backbones, weights)],
    }
    for key, value in options.items():
        if value is not None:
            in_data = key not in RankingRecipe.model_fields and any(
                key in model.model_fields for model in DATA_MODELS.values()
            )
            values = merged(values, {"data": {key: value}} if in_data else {key: value})
    return parse_ranking(values, "transferkit rank")


def tuning_from_options(
    backbone: str,
    data: str,
    given: Sequence[str] | Mapping[str, Sequence[Any]],
    own: Mapping[str, Any],
    options: Mapping[str, Any],
    overrides: Sequence[str] = (),
) -> TuningRecipe:
    """The tuning that the command or the Python call means.

    Args:
        backbone: Name of the backbone.
        data: Name of a data set, or `folder:PATH`.
        given: The space, as mapping or as `KEY=VALUE/VALUE`; empty for the default one.
        own: Keys of the tuning itself; None stands for not given.
        options: Keys of the recipe that all settings share.
        overrides: `key.path=value` of this recipe.

    Raises:
        TransferkitError: For all mistakes at once.
    """
    base = from_options("finetune", backbone, data, options, overrides, "transferkit tune")
    space = dict(given) if isinstance(given, Mapping) else read_space(given)
    asked = {key: value for key, value in own.items() if value is not None}
    return parse_tuning({"base": base, "space": space, **asked}, "transferkit tune")


@dataclass(frozen=True)
class BackboneChoice:
    """A backbone as a command names it; weights None where the default is meant."""

    name: str
    weights: str | None = None

    @property
    def keys(self) -> dict[str, str]:
        """The keys of a recipe's backbone."""
        return {"name": self.name} | ({"weights": self.weights} if self.weights else {})


def weighted(backbones: Sequence[str], weights: Sequence[str]) -> list[BackboneChoice]:
    """Each backbone `NAME` or `NAME=WEIGHTS`, its own weights before those given to all.

    Raises:
        TransferkitError: If these are no names, or two kinds of weights are given to all.
    """
    if isinstance(backbones, str) or not all(isinstance(entry, str) for entry in backbones):
        raise TransferkitError(
            f"backbones is {quoted(backbones)}. Expected a list of names, as in ['resnet18', 'resnet34=none']."
        )
    entries = [BackboneChoice(**expanded_backbone(entry)) for entry in backbones]
    names = {entry.name for entry in entries}
    own = dict(given.split("=", 1) for given in weights if given.partition("=")[0] in names)
    shared = [given for given in weights if given.partition("=")[0] not in names]
    if len(shared) > 1:
        raise TransferkitError(
            f"--weights {shared[1]}: the backbones without weights of their own can have one kind only, and "
            f"{shared[0]} was given too. Write NAME=WEIGHTS for one backbone."
        )
    default = shared[0] if shared else None
    return [BackboneChoice(entry.name, entry.weights or own.get(entry.name, default)) for entry in entries]
