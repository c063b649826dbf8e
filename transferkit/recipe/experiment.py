"""The recipe of one experiment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from transferkit.recipe.backbone import Backbone, BackboneSettings
from transferkit.recipe.data import Data
from transferkit.recipe.method import Method
from transferkit.recipe.mistakes import checked
from transferkit.recipe.settings import MOST_DEVICES, SEEDS, RecipePart, hash_of
from transferkit.recipe.yaml_text import parse_keys
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.processor import MOST_THREADS

Share = Annotated[float, Field(ge=0, le=1)]


class Recipe(RecipePart):
    """One experiment."""

    name: str = Field(
        "", pattern=r"^[\w.-]*$", max_length=200, description="Names the run's folder; default: method-backbone."
    )
    data: Data = Field(description="Which images; the short form is a name, or folder:PATH.")
    backbone: Backbone = Field(description="Which network, and its weights; the short form is NAME or NAME=WEIGHTS.")
    method: Method = Field(description="finetune, probe or scratch, with its keys; the short form is the name alone.")
    seed: int = Field(0, ge=0, lt=SEEDS, description="Of order, augmentation and initial weights.")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1 or mps.")
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="auto: bf16 where the hardware has it.")
    devices: int = Field(
        1,
        ge=1,
        le=MOST_DEVICES,
        description="Processes that train together on this machine: one per GPU, or sharing the CPU.",
    )
    threads: int | None = Field(
        None, ge=1, le=MOST_THREADS, description="Of the CPU; None: OMP_NUM_THREADS, or all usable cores."
    )
    track: Literal["none", "tensorboard", "mlflow", "wandb"] = Field(
        "none", description="Tell this tool too: settings, each epoch as it ends, and the verdict."
    )
    ignore: tuple[str, ...] = Field((), description="Checks to mute, as in TK007,TK012; docs/checks.md lists them.")
    stated_accuracy: tuple[Share, Share] | None = Field(
        None, description="Lowest and highest accuracy on test that it should reach; `transferkit verify` checks it."
    )

    @field_validator("ignore", mode="before")
    @classmethod
    def _codes(cls, value: Any) -> Any:
        """Codes in a row, as a command has them, or as a list."""
        return tuple(code.strip().upper() for code in value.split(",")) if isinstance(value, str) else value

    @field_validator("stated_accuracy")
    @classmethod
    def _in_order(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and value[0] > value[1]:
            raise ValueError(f"the lowest comes first: write [{value[1]:g}, {value[0]:g}]")
        return value

    @classmethod
    def from_yaml(cls, text: str) -> Recipe:
        """The checked recipe in a YAML text.

        Raises:
            TransferkitError: All mistakes at once, each with its key path and the nearest key.
        """
        return parse(parse_keys(text, "recipe"))

    @property
    def title(self) -> str:
        """The name of the run's folder, without its hash."""
        classifier = getattr(self.method, "classifier", "linear")
        method = self.method.name if classifier == "linear" else f"{self.method.name}-{classifier}"
        backbone = "" if classifier == "raw-pixels" else f"-{self.backbone.name}"
        return self.name or f"{method}{backbone}".replace("/", "-")

    @property
    def short_hash(self) -> str:
        """Eight hex digits over everything that decides the result."""
        not_the_result = {"threads", "device", "devices", "track", "ignore", "stated_accuracy"}
        return hash_of(self.model_dump(mode="json", exclude=not_the_result))

    @property
    def starting_backbone(self) -> BackboneSettings:
        """The backbone with the weights that the method will start from: none where it trains from scratch."""
        is_pretrained = self.method.starts_from_pretrained
        return self.backbone if is_pretrained else self.backbone.model_copy(update={"weights": "none"})

    @property
    def input_px(self) -> int:
        """Side of the network's input in px, in a resolved recipe.

        Raises:
            TransferkitError: If it is still open.
        """
        if (px := self.method.asked_px) is None:
            raise TransferkitError(
                f"The recipe {self.title} leaves method.size open. Complete it by "
                "training.defaults.resolved(recipe, images, side), as a run does."
            )
        return px

    @property
    def default_folder(self) -> Path:
        """runs/<title>-<short hash>: the same recipe goes to the same folder."""
        return Path("runs") / f"{self.title}-{self.short_hash}"


def parse(values: Mapping[str, Any], source: str = "recipe") -> Recipe:
    """A checked recipe.

    Raises:
        TransferkitError: All mistakes at once.
    """
    return checked(Recipe, values, source)


def parse_data(value: str | Mapping[str, Any]) -> Data:
    """The settings of a data set, from its name or from its keys.

    Raises:
        TransferkitError: All mistakes at once.
    """
    group = parse({"data": value, "backbone": {"name": "resnet18"}, "method": {"name": "probe"}}, "data")
    return group.data
