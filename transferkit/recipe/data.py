"""The keys of each data set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field

from transferkit.recipe.settings import MOST_IMAGES, SEEDS, RecipePart

Group: TypeAlias = Literal["parent", "grandparent"]


class DataSettings(RecipePart):
    """Keys that every data set has."""

    limit_per_class: int | None = Field(
        None, ge=1, le=MOST_IMAGES, description="Keep at most this many labels per class."
    )
    val_fraction: float = Field(0.1, ge=0, lt=1, description="Share of the labels that becomes val.")
    split_seed: int = Field(
        0, ge=0, lt=SEEDS, description="Seed of the split and of the limit; runs to be compared share it."
    )
    subset_seed: int | None = Field(
        None, ge=0, lt=SEEDS, description="Seed of the limit and of val alone; default: split_seed."
    )

    @property
    def carving_seed(self) -> int:
        """The seed that decides which labels are kept and which of them are val; test does not depend on it."""
        return self.split_seed if self.subset_seed is None else self.subset_seed


class Cifar10Data(DataSettings):
    """CIFAR-10: 60,000 images of 32 x 32 px in ten classes (Krizhevsky 2009)."""

    name: Literal["cifar10"]
    root: Path | None = Field(None, description="Folder with the official archive or its files.")


class Cifar100Data(DataSettings):
    """CIFAR-100: 60,000 images of 32 x 32 px in a hundred classes (Krizhevsky 2009)."""

    name: Literal["cifar100"]
    root: Path | None = Field(None, description="Folder with the official archive or its files.")


class SvhnData(DataSettings):
    """SVHN: house-number digits of 32 x 32 px (Netzer et al. 2011)."""

    name: Literal["svhn"]
    root: Path | None = Field(None, description="Folder with train_32x32.mat and test_32x32.mat.")


class DigitsData(DataSettings):
    """scikit-learn's 1,797 handwritten digits of 8 x 8 px, shipped with it."""

    name: Literal["digits"]
    test_fraction: float = Field(0.5, gt=0, lt=1, description="Share of every class that is sealed as test.")


class GlyphsData(DataSettings):
    """Letters drawn from the fonts that ship with matplotlib: affine, colour and noise at random, from one seed."""

    name: Literal["glyphs"]
    per_class: int = Field(400, ge=2, le=100_000, description="Images drawn for each of the letters, test included.")
    size: int = Field(16, ge=8, le=128, description="Side of an image in px.")
    drawing_seed: int = Field(0, ge=0, lt=SEEDS, description="Seed that the letters are drawn from.")
    test_fraction: float = Field(0.1, gt=0, lt=1, description="Share of every class that is sealed as test.")


class FolderData(DataSettings):
    """Your own images: train/[val/]test/ with class folders, class folders alone, or a CSV of path,label."""

    name: Literal["folder"]
    path: Path = Field(description="The folder, or the CSV file.")
    storage: Annotated[int, Field(ge=8, le=1024)] | Literal["auto"] = Field(
        "auto", description="Side in px at which images are decoded and kept."
    )
    fit: Literal["squash", "crop"] = Field("squash", description="How a rectangle becomes a square.")
    group: Group | None = Field(
        None,
        description="What belongs together and stays in one part: parent: folders inside class folders, as of one "
        "patient or video; grandparent: folders that hold class folders. A CSV names groups in its column group.",
    )
    test_fraction: float = Field(0.2, gt=0, lt=1, description="Share sealed as test where there is no test part.")
    skip_bad: bool = Field(False, description="List unreadable files in the report instead of stopping.")


DATA_MODELS = (Cifar10Data, Cifar100Data, SvhnData, DigitsData, GlyphsData, FolderData)


def expanded_data(value: Any) -> Any:
    """`cifar10` and `folder:PATH` are short for a mapping with a name."""
    if isinstance(value, str):
        name, _, path = value.partition(":")
        return {"name": name, "path": path} if path else {"name": name}
    if isinstance(value, Mapping) and str(value.get("name", "")).startswith("folder:"):
        return {**value, "name": "folder", "path": str(value["name"]).partition(":")[2]}
    return value


Data: TypeAlias = Annotated[
    Annotated[
        Cifar10Data | Cifar100Data | SvhnData | DigitsData | GlyphsData | FolderData,
        Field(discriminator="name"),
    ],
    BeforeValidator(expanded_data),
]
