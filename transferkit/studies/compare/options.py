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
from transferkit.recipe.options import BackboneChoice
from transferkit.runtime.errors import TransferkitError

NO_FILE_SIGNS = re.compile(r"[^\w.-]+")
DEFAULT_STEPS = "500steps"  # of a label curve: a few minutes per network on a laptop


@dataclass(frozen=True)
class Length:
    """A method, and its own budget; None within the study's."""

    method: str
    budget: str | None = None

    @property
    def keys(self) -> dict[str, str]:
        """The keys of a recipe's method."""
        return {"name": self.method} | ({"budget": self.budget} if self.budget else {})


@dataclass(frozen=True)
class ArmKeys:
    """What an arm changes in a recipe: keys of its backbone and of its method."""

    backbone: dict[str, str]
    method: dict[str, str]


@dataclass(frozen=True)
class StudySettings:
    """Keys of the study itself; None stands for not given."""

    seeds: int | None = None
    budget: str | None = None
    labels: Sequence[int | str] | None = None
    reference: str | None = None
    over: str | None = None
    executor: str | None = None
    workers: int | None = None


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

    def by_name(self) -> dict[str, ArmKeys]:
        """What each arm changes in a recipe, by the arm's name.

        Raises:
            TransferkitError: If a method is unknown, or something is there twice.
        """
        for name in self.methods:
            of_method(METHOD_MODELS, name)
        arms: dict[str, ArmKeys] = {}
        for backbone in weighted(self.backbones, self.weights):
            for name, length in self._lengths():
                is_random = not METHOD_MODELS[length.method].starts_from_pretrained
                values = ArmKeys({"name": backbone.name} if is_random else backbone.keys, length.keys)
                label = self._label(backbone, name)
                if label in arms and arms[label] != values:
                    label = f"{label}-{NO_FILE_SIGNS.sub('-', backbone.weights or 'imagenet')}"
                if label in arms and not is_random:
                    raise TransferkitError(
                        f"{label} is there twice. To compare one backbone with several weights write NAME=WEIGHTS."
                    )
                arms[label] = values
        return arms

    def _lengths(self) -> list[tuple[str, Length]]:
        """Method after method; one that starts at random a second time where that has a budget of its own."""
        lengths: list[tuple[str, Length]] = []
        for method in dict.fromkeys(self.methods):
            lengths.append((method, Length(method)))
            if self.scratch_budget and not METHOD_MODELS[method].starts_from_pretrained:
                own = Length(method, self.scratch_budget)
                lengths.append((f"{method}-{NO_FILE_SIGNS.sub('', self.scratch_budget)}", own))
        return lengths

    def _label(self, backbone: BackboneChoice, method: str) -> str:
        if len(self.backbones) == 1:
            return method
        return NO_FILE_SIGNS.sub("-", f"{backbone.name}-{method}")


def study_of(
    command: str,
    arms: Arms,
    data: str,
    options: Mapping[str, Any],
    settings: StudySettings,
    overrides: Sequence[str] = (),
) -> Study:
    """The study that a command means.

    Args:
        command: `compare` or `curve`; names the study, with the data set.
        arms: The arms, the first of them the reference unless the settings name another.
        data: Name of a data set, or `folder:PATH`.
        options: Keys that all arms share, of data, backbone, method or recipe; None stands for not given.
        settings: Keys of the study.
        overrides: `key.path=value` of the study, applied last.

    Raises:
        TransferkitError: For all mistakes at once.
    """
    common = {"data": expanded_data(data)}
    for key, value in options.items():
        if value is not None:
            group = _group(key)
            common = merged(common, {group: {key: value}} if group else {key: value})
    keys = arms.by_name()
    values = {
        "name": NO_FILE_SIGNS.sub("-", f"{command}-{common['data']['name']}"),
        "common": common,
        "arms": {name: vars(arm) for name, arm in keys.items()},
        "reference": next(iter(keys), ""),
        **{key: value for key, value in vars(settings).items() if value is not None},
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
