"""Settings to choose from by successive halving, around one recipe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from math import prod
from typing import Any, Literal

from pydantic import Field

from transferkit.recipe.experiment import Recipe
from transferkit.recipe.mistakes import checked
from transferkit.recipe.overrides import merged
from transferkit.recipe.settings import MOST_RUNS, RecipePart, hash_of
from transferkit.recipe.workplace import PLACE, Executor, Workers, require_apart
from transferkit.recipe.yaml_text import parse_yaml
from transferkit.runtime.errors import TransferkitError, quoted
from transferkit.runtime.plurals import counted

DEFAULT = "default"  # among the values of a key: leave it as the recipe has it
EXAMPLE = "Write KEY=VALUE/VALUE, as in lr_factor=0.3/1/3 or augment=none/trivial."


class TuningRecipe(RecipePart):
    """A recipe, and values of its method's keys to choose from by val; test stays closed until one is chosen."""

    name: str = Field("", pattern=r"^[\w.-]*$", max_length=200, description="Names the folder; default: tune-TITLE.")
    base: Recipe = Field(description="What all settings share; its length is the longest that is trained.")
    space: dict[str, tuple[Any, ...]] = Field(
        default_factory=dict,
        description="Values by key of the method, `default` among them to leave it alone; {}: rates, sizes, freezing "
        "and augmentation that suit network and images.",
    )
    points: int | None = Field(
        None, ge=1, le=MOST_RUNS, description="Try so many settings of the space, drawn at random; None: all."
    )
    search: Literal["grid", "optuna"] = Field(
        "grid", description="optuna: settings are proposed by its TPE sampler, which learns from those before."
    )
    eta: int = Field(
        3, ge=2, le=10, description="How many times longer those settings are trained that go on, two in its square."
    )
    executor: Executor = None
    workers: Workers = None

    @property
    def title(self) -> str:
        """The name of the folder, without its hash."""
        return self.name or f"tune-{self.base.title}"

    @property
    def short_hash(self) -> str:
        """Eight hex digits over everything that decides the result."""
        base = self.base.model_dump(mode="json", exclude={"threads", "device", "track"})
        return hash_of({**self.model_dump(mode="json", exclude={"base", *PLACE}), "base": base})

    def recipe(self, values: Mapping[str, Any]) -> Recipe:
        """The recipe with these values of its method's keys.

        Raises:
            TransferkitError: If one cannot be.
        """
        return checked(Recipe, merged(self.base.model_dump(), {"method": dict(values)}), f"{self.title}, {values}")


def points_of(space: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    """Every combination of values, without the keys that are left alone.

    Example:
        >>> list(points_of({"lr_factor": [1, 3], "augment": ["default", "trivial"]}))[:2]
        [{'lr_factor': 1}, {'lr_factor': 1, 'augment': 'trivial'}]
    """
    for values in product(*space.values()):
        yield {key: value for key, value in zip(space, values, strict=True) if value != DEFAULT}


def parse_tuning(values: Mapping[str, Any], source: str = "tuning") -> TuningRecipe:
    """A tuning of which every setting is a checked recipe.

    Raises:
        TransferkitError: If the method takes no gradient steps, or a setting cannot be.
    """
    tuning = checked(TuningRecipe, values, source)
    require_apart(tuning.executor, tuning.workers, source)
    if tuning.search == "optuna" and tuning.executor not in (None, "here"):
        raise TransferkitError(
            f"{source}: optuna proposes each setting after the one before, so there is nothing for executor: "
            f"{tuning.executor} to do at once. Use --search grid, perhaps with --points 20, or leave the executor out."
        )
    if tuning.base.method.training is None:
        raise TransferkitError(
            f"{source}: {tuning.base.method.noun} is solved, not trained, so it has no rates or lengths to tune."
        )
    if (count := prod(len(set(map(repr, choices))) for choices in tuning.space.values())) > MOST_RUNS:
        raise TransferkitError(f"{source}: the space has {counted(count, 'setting')}. Expected at most {MOST_RUNS:,}.")
    if empty := [key for key, choices in tuning.space.items() if not choices]:
        raise TransferkitError(f"{source}: {empty[0]} has no values to choose from. {EXAMPLE}")
    for key, choices in tuning.space.items():
        for choice in choices:
            tuning.recipe({} if choice == DEFAULT else {key: choice})
    return tuning


def read_space(given: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    """The values by key that `--try KEY=VALUE/VALUE` options mean.

    Raises:
        TransferkitError: If one has another form.

    Example:
        >>> read_space(["lr_factor=0.3/1", "augment=none/rotation=15,colour=0.4"])
        {'lr_factor': (0.3, 1), 'augment': ('none', 'rotation=15,colour=0.4')}
    """
    space: dict[str, tuple[Any, ...]] = {}
    for text in given:
        key, equals, choices = text.partition("=")
        if not equals or not key or not choices:
            raise TransferkitError(f"Cannot read --try {quoted(text)}. {EXAMPLE}")
        key = key.strip().removeprefix("method.").replace("-", "_")
        space[key] = tuple(parse_yaml(choice, f"--try {quoted(text)}") for choice in choices.split("/"))
    return space
