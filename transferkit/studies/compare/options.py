"""The studies that `transferkit compare` and `transferkit curve` mean: their options written as a Study."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from transferkit.recipe import (
    METHOD_MODELS,
    BackboneSettings,
    Recipe,
    Study,
    expanded_data,
    merged,
    of_method,
    overridden,
    parse_study,
    weighted,
)
from transferkit.runtime.errors import TransferkitError

NO_FILE_SIGNS = re.compile(r"[^\w.-]+")
DEFAULT_STEPS = "500steps"  # of a label curve: a few minutes per network on a laptop


@dataclass(frozen=True)
class Arms:
    """Which arms a command asks for.

    Attributes:
        backbones: Each `NAME` or `NAME=WEIGHTS`.
        methods: Names of methods.
        weights: `NAME=WEIGHTS` for one backbone; anything else for all that have none of their own.
        scratch_budget: Of a second arm from scratch, beside the one within the study's budget; None for none.
    """

    backbones: Sequence[str]
    methods: Sequence[str]
    weights: Sequence[str] = ()
    scratch_budget: str | None = None

    def as_keys(self) -> dict[str, dict[str, Any]]:
        """The keys of a recipe that each arm changes, by the arm's name.

        Raises:
            TransferkitError: If a method is unknown, or something is there twice.
        """
        for name in self.methods:
            of_method(METHOD_MODELS, name)
        arms: dict[str, dict[str, Any]] = {}
        for backbone in weighted(self.backbones, self.weights):
            for name, method in self._lengths():
                is_random = not METHOD_MODELS[method["name"]].starts_from_pretrained
                backbone_keys = {"name": backbone["name"]} if is_random else dict(backbone)
                values = {"backbone": backbone_keys, "method": method}
                label = self._label(backbone, name)
                if label in arms and arms[label] != values:
                    label = f"{label}-{NO_FILE_SIGNS.sub('-', str(backbone.get('weights', 'imagenet')))}"
                if label in arms and not is_random:
                    raise TransferkitError(
                        f"{label} is there twice. To compare one backbone with several weights write NAME=WEIGHTS."
                    )
                arms[label] = values
        return arms

    def _lengths(self) -> list[tuple[str, dict[str, str]]]:
        """Method after method; one that starts at random a second time where that has a budget of its own."""
        lengths: list[tuple[str, dict[str, str]]] = []
        for method in dict.fromkeys(self.methods):
            lengths.append((method, {"name": method}))
            if self.scratch_budget and not METHOD_MODELS[method].starts_from_pretrained:
                own = {"name": method, "budget": self.scratch_budget}
                lengths.append((f"{method}-{NO_FILE_SIGNS.sub('', self.scratch_budget)}", own))
        return lengths

    def _label(self, backbone: Mapping[str, str], method: str) -> str:
        if len(self.backbones) == 1:
            return method
        return NO_FILE_SIGNS.sub("-", f"{backbone['name']}-{method}")


def study_of(
    command: str,
    arms: Arms,
    data: str,
    options: Mapping[str, Any],
    settings: Mapping[str, Any],
    overrides: Sequence[str] = (),
) -> Study:
    """The study that a command means.

    Args:
        command: `compare` or `curve`; names the study, with the data set.
        arms: The arms, the first of them the reference unless the settings name another.
        data: Name of a data set, or `folder:PATH`.
        options: Keys that all arms share, of data, backbone, method or recipe; None stands for not given.
        settings: Keys of the study; None stands for not given.
        overrides: `key.path=value` of the study, applied last.

    Raises:
        TransferkitError: For all mistakes at once.
    """
    common: dict[str, Any] = {"data": expanded_data(data)}
    for key, value in options.items():
        if value is not None:
            group = _group(key)
            common = merged(common, {group: {key: value}} if group else {key: value})
    keys = arms.as_keys()
    values: dict[str, Any] = {
        "name": NO_FILE_SIGNS.sub("-", f"{command}-{common['data']['name']}"),
        "common": common,
        "arms": keys,
        "reference": next(iter(keys), ""),
        **{key: value for key, value in settings.items() if value is not None},
    }
    return parse_study(overridden(values, overrides), f"transferkit {command}")


def _group(key: str) -> str | None:
    """Which part of a recipe a shared option belongs to: every method has a size."""
    if key in BackboneSettings.model_fields:
        return "backbone"
    if key == "size":
        return "method"
    return None if key in Recipe.model_fields else "data"


def label_counts(text: str) -> list[int | str]:
    """The numbers of labels in `5,10,all`.

    Raises:
        TransferkitError: If one is neither a whole number above zero nor `all`.

    Example:
        >>> label_counts("5,10,all")
        [5, 10, 'all']
    """
    counts: list[int | str] = []
    for word in listed(text):
        if word != "all" and not (word.isdigit() and int(word) > 0):
            raise TransferkitError(
                f"Cannot read the number of labels {word!r}. Expected whole numbers above zero and perhaps all, as in "
                "5,10,50,all."
            )
        counts.append("all" if word == "all" else int(word))
    if not counts:
        raise TransferkitError("No number of labels was given. Expected something like --labels 5,10,50,all.")
    return counts


def listed(text: str) -> list[str]:
    """The words between commas.

    Example:
        >>> listed("scratch, probe,")
        ['scratch', 'probe']
    """
    return [word.strip() for word in text.split(",") if word.strip()]
