"""Several recipes on the same images, to be compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, TypeAlias, TypeGuard

from pydantic import Field, field_validator, model_validator

from transferkit.recipe import budget as budgets
from transferkit.recipe.experiment import Recipe, parse
from transferkit.recipe.method import METHOD_MODELS, BudgetText, MethodSettings
from transferkit.recipe.mistakes import checked
from transferkit.recipe.overrides import merged, spelt_out
from transferkit.recipe.settings import (
    MOST_IMAGES,
    MOST_RUNS,
    MOST_SEEDS,
    RecipePart,
    hash_of,
)
from transferkit.recipe.workplace import PLACE, Executor, Workers, require_apart
from transferkit.runtime.errors import TransferkitError, did_you_mean, quoted
from transferkit.runtime.plurals import counted

Labels: TypeAlias = Annotated[int, Field(ge=1, le=MOST_IMAGES)] | Literal["all"]
Name: TypeAlias = Annotated[str, Field(pattern=r"^[\w.-]*\w[\w.-]*$", max_length=150)]  # of a folder


class Study(RecipePart):
    """Several recipes on the same images, compared: what the arms share, and what each arm changes."""

    name: Name = Field("study", description="Names the study's folder.")
    before: dict[Name, Recipe] = Field(
        default_factory=dict,
        description="Recipes made once, first; an arm takes their weights as backbone: {weights: run:NAME}.",
    )
    common: dict[str, Any] = Field(default_factory=dict, description="Keys of a recipe that all arms share.")
    arms: dict[Name, dict[str, Any]] = Field(min_length=1, description="Keys of a recipe, per arm, laid over common.")
    budget: BudgetText | None = Field(
        None, description="Of every arm that trains by gradient steps and has no epochs or budget of its own."
    )
    labels: tuple[Labels, ...] = Field(
        (),
        max_length=100,
        description="Makes it a label curve: each arm at each of these numbers of labels per class, all included. Each "
        "seed draws other labels, the same for all arms, smaller numbers being parts of larger ones.",
    )
    seeds: int = Field(3, ge=1, le=MOST_SEEDS, description="How many seeds each arm runs with: 0, 1, ...")
    over: Literal["seeds", "images"] | None = Field(
        None,
        description="What differences count as drawn by chance: images, or seeds and images; None: both, if it can.",
    )
    reference: str = Field("", description="The arm the others are compared with; default: the first.")
    executor: Executor = None
    workers: Workers = None

    @model_validator(mode="before")
    @classmethod
    def _first_arm_is_the_reference(cls, values: Any) -> Any:
        arms = values.get("arms") if isinstance(values, Mapping) else None
        if not isinstance(arms, Mapping) or "reference" in values:
            return values
        return {**values, "reference": str(next(iter(arms), ""))}

    @field_validator("common")
    @classmethod
    def _common_in_full(cls, common: dict[str, Any]) -> dict[str, Any]:
        return spelt_out(common)

    @field_validator("arms")
    @classmethod
    def _arms_in_full(cls, arms: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        return {name: spelt_out(keys) for name, keys in arms.items()}

    @property
    def short_hash(self) -> str:
        """Eight hex digits over the whole study."""
        return hash_of(self.model_dump(mode="json", exclude=PLACE))

    def cells(self) -> dict[str, tuple[str, Labels | None]]:
        """The arm, and in a label curve the number of labels, behind each name of a series of runs."""
        if not self.labels:
            return {arm: (arm, None) for arm in self.arms}
        return {f"{arm}-{count}": (arm, count) for count in self.labels for arm in self.arms}

    def recipes(self, seeds: int | None = None, source: str = "") -> Iterator[tuple[str, int, Recipe]]:
        """Name, seed and complete recipe of every run, or of so many of its seeds; mistakes begin with `source`."""
        place = f"{source}: {self.name}" if source else self.name
        for cell, (arm, count) in self.cells().items():
            for seed in range(self.seeds if seeds is None else seeds):
                values = merged(merged(self.common, self.arms[arm]), {"seed": seed, "name": f"{cell}-seed{seed}"})
                if count is not None:
                    drawn = {"limit_per_class": None if count == "all" else count, "subset_seed": seed}
                    values = merged(values, {"data": drawn})
                yield cell, seed, parse(_without_refit(self._budgeted(values)), f"{place}, arm {arm}")

    def own_length(self, arm: str) -> bool:
        """Whether an arm trains by gradient steps, but not within the study's budget."""
        method = merged(self.common, self.arms[arm]).get("method")
        return self.budget is not None and _trains(method) and bool({"epochs", "budget"} & set(method))

    def _budgeted(self, values: dict[str, Any]) -> dict[str, Any]:
        method = values.get("method")
        if self.budget is None or not _trains(method) or {"epochs", "budget"} & set(method):
            return values
        return merged(values, {"method": {"budget": self.budget}})


def _without_refit(values: dict[str, Any]) -> dict[str, Any]:
    """Arms that are compared learn from the same images, so that none learns from val in the end unless it says so."""
    method: Any = values.get("method")
    known = _method_model(method)
    if known is None or "refit" in method or "refit" not in known.model_fields:
        return values
    return merged(values, {"method": {"refit": False}})


def _method_model(method: Any) -> type[MethodSettings] | None:
    """The settings that these keys of a recipe are meant for."""
    return METHOD_MODELS.get(str(method.get("name"))) if isinstance(method, Mapping) else None


def _trains(method: Any) -> TypeGuard[Mapping[str, Any]]:
    """Whether these keys of a recipe mean a method with gradient steps."""
    known = _method_model(method)
    return known is not None and known.trains_by_steps


def parse_study(values: Mapping[str, Any], source: str = "study") -> Study:
    """A study of which every arm is a checked recipe.

    Raises:
        TransferkitError: All mistakes at once; an unknown reference names the arms.
    """
    study = checked(Study, values, source)
    require_apart(study.executor, study.workers, source)
    if study.reference not in study.arms:
        raise TransferkitError(
            f"{source}: reference {quoted(study.reference)} is no arm. {did_you_mean(study.reference, study.arms)}"
        )
    if len(study.arms) < 2 and not study.labels:
        raise TransferkitError(f"{source}: one arm alone cannot be compared. Add another backbone or method.")
    if study.over == "seeds" and study.seeds < 2:
        raise TransferkitError(
            f"{source}: an interval over seeds needs at least two seeds of every arm; this study has one. "
            "Use --seeds 3, or --over images."
        )
    if twice := [count for count in dict.fromkeys(study.labels) if study.labels.count(count) > 1]:
        raise TransferkitError(f"{source}: the number {twice[0]} of labels per class is there twice.")
    if (runs := len(study.cells()) * study.seeds) > MOST_RUNS:
        raise TransferkitError(f"{source}: {counted(runs, 'run')}. Expected at most {MOST_RUNS:,} in one study.")
    for arm, _, recipe in study.recipes(seeds=1, source=source):
        if study.labels and _length_grows(recipe):
            raise TransferkitError(
                f"{source}, arm {arm}: a label curve needs the same number of gradient steps at every number of "
                "labels, and an epoch has more where there are more labels. Use --budget 500steps, 10min or 1e15flops."
            )
    return study


def _length_grows(recipe: Recipe) -> bool:
    """Whether a training is longer on more images."""
    if (training := recipe.method.training) is None:
        return False
    return training.budget is None or budgets.read(training.budget).kind in ("epochs", "converged")
