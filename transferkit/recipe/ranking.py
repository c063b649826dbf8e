"""Backbones to choose from, each by its probe."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from transferkit.recipe.backbone import BackboneSettings, expanded_backbone
from transferkit.recipe.data import Data
from transferkit.recipe.experiment import Recipe
from transferkit.recipe.method import ProbeSettings
from transferkit.recipe.mistakes import checked
from transferkit.recipe.settings import (
    LARGEST_PX,
    MOST_IMAGES,
    SEEDS,
    RecipePart,
    hash_of,
)
from transferkit.recipe.workplace import PLACE, Executor, Workers, require_apart
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.processor import MOST_THREADS


class RankingRecipe(RecipePart):
    """Backbones to choose from: each is frozen and probed on the same training images; val and test stay closed."""

    name: str = Field(
        "", pattern=r"^[\w.-]*$", max_length=200, description="Names the ranking's folder; default: rank-DATA."
    )
    data: Data = Field(description="Which images; the short form is a name, or folder:PATH.")
    backbones: tuple[BackboneSettings, ...] = Field(
        min_length=1, max_length=1000, description="Each as in a recipe, or short: NAME or NAME=WEIGHTS."
    )
    images: int = Field(
        5000, ge=10, le=MOST_IMAGES, description="Use at most this many training images, the same for all."
    )
    size: Annotated[int, Field(ge=8, le=LARGEST_PX)] | Literal["auto"] = Field("auto", description="Input side in px.")
    seed: int = Field(0, ge=0, lt=SEEDS, description="Of the choice of images, folds and random weights.")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1 or mps.")
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="auto: bf16 where the hardware has it.")
    threads: int | None = Field(
        None, ge=1, le=MOST_THREADS, description="Of the CPU; None: OMP_NUM_THREADS, or all usable cores."
    )
    executor: Executor = None
    workers: Workers = None

    @field_validator("backbones", mode="before")
    @classmethod
    def _expanded(cls, value: Any) -> Any:
        return [expanded_backbone(item) for item in value] if isinstance(value, list | tuple) else value

    @property
    def title(self) -> str:
        """The name of the ranking's folder, without its hash."""
        return self.name or f"rank-{self.data.name}"

    @property
    def short_hash(self) -> str:
        """Eight hex digits over everything that decides the result."""
        return hash_of(self.model_dump(mode="json", exclude={"threads", "device", *PLACE}))

    def recipes(self) -> dict[str, Recipe]:
        """The probe of each backbone, by a label that tells it from the others."""
        shared = {key: getattr(self, key) for key in ("data", "seed", "device", "precision", "threads")}
        method = ProbeSettings(name="probe", size=self.size)
        return {
            label: Recipe(backbone=backbone, method=method, **shared)
            for label, backbone in zip(self.labels, self.backbones, strict=True)
        }

    @property
    def labels(self) -> list[str]:
        """The backbones as the user types them, files and runs by their name alone where that is enough."""
        short = [_backbone_label(backbone, Path(backbone.weights).name) for backbone in self.backbones]
        return [
            label if short.count(label) == 1 else _backbone_label(backbone, backbone.weights)
            for label, backbone in zip(short, self.backbones, strict=True)
        ]


def _backbone_label(backbone: BackboneSettings, weights: str) -> str:
    return backbone.name if backbone.weights == "imagenet" else f"{backbone.name}={weights}"


def parse_ranking(values: Mapping[str, Any], source: str = "ranking") -> RankingRecipe:
    """A checked ranking.

    Raises:
        TransferkitError: All mistakes at once; names a backbone that is there twice.
    """
    ranking = checked(RankingRecipe, values, source)
    require_apart(ranking.executor, ranking.workers, source)
    labels = ranking.labels
    if twice := [label for label in dict.fromkeys(labels) if labels.count(label) > 1]:
        raise TransferkitError(
            f"{source}: {', '.join(twice)} is there twice. To rank one backbone with several weights write "
            "NAME=WEIGHTS, as in: resnet18 resnet18=none resnet18=my.safetensors."
        )
    return ranking
