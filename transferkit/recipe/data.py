"""The keys of each data set."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeAlias

import yaml
from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from transferkit.recipe.menu import ChosenFrom
from transferkit.recipe.settings import MOST_IMAGES, SEEDS, RecipePart

LONGEST_PATH = 4096  # characters (Linux, PATH_MAX)
Group: TypeAlias = Literal["parent", "grandparent"]


_CITE_KRIZHEVSKY = "no licence stated; the authors ask to cite Krizhevsky (2009)"


class DataSettings(RecipePart):
    """Keys that every data set has, and what a data set declares for all that need to know it.

    Attributes:
        module: Dotted name of the module that loads it, see `data.datasets`.
        typed: What is typed after `--data`; else its name.
        classes: How many; None where the user's own data decide.
        images: How many, test included; None where the user's own data decide.
        side: Of one image, in words.
        terms: Licence or terms of use.
        source: Where it comes from.
        offline: Whether it works without a download.
        mirrors: Whether a mirrored image shows the same class; a mirrored letter is another sign.
    """

    module: ClassVar[str]
    typed: ClassVar[str] = ""
    classes: ClassVar[int | None] = None
    images: ClassVar[int | None] = None
    side: ClassVar[str]
    terms: ClassVar[str]
    source: ClassVar[str]
    offline: ClassVar[bool] = True
    mirrors: ClassVar[bool] = True
    open_defaults: ClassVar[Mapping[str, str]] = {"limit_per_class": "all"}

    if TYPE_CHECKING:  # each data set declares it at its place among its own keys
        name: str

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
    folds: int | None = Field(
        None,
        ge=2,
        le=100,
        description="Cross-validate: so many runs, each tested on another part of the labelled images.",
    )
    fold: int | None = Field(None, ge=1, le=100, description="With folds: only the run that this one is held out of.")

    @property
    def own_files(self) -> Path | None:
        """Where the user's own images lie; None for a published data set."""
        return None

    @property
    def carving_seed(self) -> int:
        """The seed that decides which labels are kept and which of them are val; test does not depend on it."""
        return self.split_seed if self.subset_seed is None else self.subset_seed


class Cifar10Data(DataSettings):
    """CIFAR-10: 60,000 images of 32 x 32 px in ten classes (Krizhevsky 2009)."""

    module = "transferkit.data.datasets.cifar10"
    classes = 10
    images = 60_000
    side = "32 x 32 px"
    terms = _CITE_KRIZHEVSKY
    source = "https://www.cs.toronto.edu/~kriz/cifar.html"
    offline = False

    name: Literal["cifar10"]
    root: Path | None = Field(None, description="Folder with the official archive or its files.")


class Cifar100Data(DataSettings):
    """CIFAR-100: 60,000 images of 32 x 32 px in a hundred classes (Krizhevsky 2009)."""

    module = "transferkit.data.datasets.cifar100"
    classes = 100
    images = 60_000
    side = "32 x 32 px"
    terms = _CITE_KRIZHEVSKY
    source = "https://www.cs.toronto.edu/~kriz/cifar.html"
    offline = False

    name: Literal["cifar100"]
    root: Path | None = Field(None, description="Folder with the official archive or its files.")


class SvhnData(DataSettings):
    """SVHN: house-number digits of 32 x 32 px (Netzer et al. 2011)."""

    module = "transferkit.data.datasets.svhn"
    classes = 10
    images = 99_289
    side = "32 x 32 px"
    terms = "non-commercial use only; cite Netzer et al. (2011)"
    source = "http://ufldl.stanford.edu/housenumbers/"
    offline = False
    mirrors = False

    name: Literal["svhn"]
    root: Path | None = Field(None, description="Folder with train_32x32.mat and test_32x32.mat.")


class DigitsData(DataSettings):
    """scikit-learn's 1,797 handwritten digits of 8 x 8 px, shipped with it."""

    module = "transferkit.data.datasets.digits"
    classes = 10
    images = 1_797
    side = "8 x 8 px"
    terms = "CC BY 4.0 (UCI, Alpaydin and Kaynak 1998)"
    source = "scikit-learn"
    mirrors = False

    name: Literal["digits"]
    test_fraction: float = Field(0.5, gt=0, lt=1, description="Share of every class that is sealed as test.")


class GlyphsData(DataSettings):
    """Letters drawn from the fonts that ship with matplotlib: affine, colour and noise at random, from one seed."""

    module = "transferkit.data.datasets.glyphs"
    classes = 26
    images = 10_400
    side = "16 x 16 px"
    terms = "drawn here"
    source = "fonts shipped with matplotlib"
    mirrors = False

    name: Literal["glyphs"]
    per_class: int = Field(400, ge=2, le=100_000, description="Images drawn for each of the letters, test included.")
    size: int = Field(16, ge=8, le=128, description="Side of an image in px.")
    drawing_seed: int = Field(0, ge=0, lt=SEEDS, description="Seed that the letters are drawn from.")
    test_fraction: float = Field(0.1, gt=0, lt=1, description="Share of every class that is sealed as test.")


class ShapesData(DataSettings):
    """Six shapes in colour on textured grounds: anywhere, turned by any angle, drawn from one seed."""

    module = "transferkit.data.datasets.shapes"
    classes = 6
    images = 3_600
    side = "32 x 32 px"
    terms = "drawn here"
    source = "drawn by transferkit"

    name: Literal["shapes"]
    per_class: int = Field(600, ge=2, le=100_000, description="Images drawn of each shape, test included.")
    size: int = Field(32, ge=8, le=128, description="Side of an image in px.")
    drawing_seed: int = Field(0, ge=0, lt=SEEDS, description="Seed that the shapes are drawn from.")
    plain: bool = Field(False, description="White on black instead of colours and textures: learnt in seconds.")
    test_fraction: float = Field(0.25, gt=0, lt=1, description="Share of every class that is sealed as test.")


def _on_this_machine(value: Any) -> Any:
    if isinstance(value, str | Path) and "://" in str(value):
        raise PydanticCustomError(
            "a path", "a path on this machine: data of a URL are learnt from where they are mounted or copied"
        )
    return value


class OwnData(DataSettings):
    """Keys of the user's own data, whose path alone is enough where data are asked for.

    Attributes:
        suffixes: Of a path that means these data; nothing is a folder's.
    """

    suffixes: ClassVar[tuple[str, ...]]

    side = "any"
    terms = "yours"

    path: Annotated[Path, BeforeValidator(_on_this_machine)] = Field(description="The folder, or the file.")
    test_fraction: float = Field(0.2, gt=0, lt=1, description="Share sealed as test where there is no test part.")

    @property
    def own_files(self) -> Path:
        """The folder, or the file."""
        return self.path


Window: TypeAlias = tuple[Annotated[float, Field(ge=-1e12, le=1e12)], Annotated[float, Field(ge=-1e12, le=1e12)]]
Depth: TypeAlias = Annotated[int, Field(ge=8, le=16)]


def _from_text(value: Any) -> Any:
    """Two numbers typed as an option, `0,4095` or `[0,4095]`, are text there."""
    return yaml.safe_load(f"[{value.strip('[] ')}]") if isinstance(value, str) and "," in value else value


def _rising(value: Any) -> Any:
    if isinstance(value, tuple) and value[0] >= value[1]:
        raise PydanticCustomError("rising", "two numbers, the lower one first")
    return value


class EncodedData(OwnData):
    """Keys of the user's own images where they have to be decoded."""

    storage: Annotated[int, Field(ge=8, le=1024)] | Literal["auto"] = Field(
        "auto", description="Side in px at which images are decoded and kept."
    )
    fit: Literal["squash", "crop"] = Field("squash", description="How a rectangle becomes a square.")
    range: Annotated[Literal["auto"] | Depth | Window, BeforeValidator(_from_text), AfterValidator(_rising)] = Field(
        "auto",
        description="Which values become black and white where files are deeper than 8 bits: the bits in use, as 10, "
        "12 or 16, or [lowest,highest], beyond which they are clipped; auto: the bits that the brightest value needs.",
    )
    channels: Annotated[int, Field(ge=1, le=512)] | Literal["auto"] = Field(
        "auto", description="Bands of an image; auto: as many as the files have."
    )
    max_megapixels: float | None = Field(
        None, gt=0, le=100_000, description="Refuse larger images; default: 89.5, Pillow's bound against bombs."
    )
    skip_bad: bool = Field(False, description="List unreadable files in the report instead of stopping.")


class FolderData(EncodedData):
    """Your own images: train/[val/]test/ with class folders, class folders alone, or a CSV of path,label."""

    module = "transferkit.data.datasets.folder"
    typed = "folder:PATH"
    source = "a folder or a CSV file"
    suffixes = ("", ".csv")
    open_defaults: ClassVar[Mapping[str, str]] = {**OwnData.open_defaults, "group": "each image for itself"}

    name: Literal["folder"]
    group: Group | None = Field(
        None,
        description="What stays together in one part, as of one patient or video; parent: folders inside class "
        "folders; grandparent: folders that hold class folders. A CSV has a column group.",
    )
    path_column: str | None = Field(
        None, description="The column of a table with the paths; default: path, file_name, filename, image or id."
    )
    label_column: str | None = Field(
        None, description="The column of a table with the classes; default: label, target or class."
    )


class ArraysData(OwnData):
    """Your own images as arrays in one .npz file: images and labels, or those of train, val and test."""

    module = "transferkit.data.datasets.arrays"
    typed = "arrays:FILE"
    source = "an .npz file"
    suffixes = (".npz",)

    name: Literal["arrays"]


class ShardsData(EncodedData):
    """Your own images in .parquet files (Hugging Face) or .tar files (WebDataset): one of them, or a folder."""

    module = "transferkit.data.datasets.shards"
    typed = "shards:PATH"
    source = "Parquet or tar files"
    suffixes = (".parquet", ".tar")

    name: Literal["shards"]
    label_column: str | None = Field(
        None, description="The column of a Parquet file, or the key of a JSON file, with the classes."
    )
    stream: bool = Field(
        False, description="Leave images in their shards and read them as training goes: for more than memory holds."
    )
    stream_window: int = Field(
        8192, ge=2, le=MOST_IMAGES, description="With stream: images that are read ahead, and shuffled together."
    )


DATA_MODELS: dict[str, type[DataSettings]] = {
    "cifar10": Cifar10Data,
    "cifar100": Cifar100Data,
    "svhn": SvhnData,
    "digits": DigitsData,
    "glyphs": GlyphsData,
    "shapes": ShapesData,
    "folder": FolderData,
    "arrays": ArraysData,
    "shards": ShardsData,
}


OWN = tuple(name for name, model in DATA_MODELS.items() if model.typed)


def own_data(text: str) -> str | None:
    """The kind of own data that a path means, whether or not it is there; None for the name of a data set.

    A name without a slash is a path where something of this name exists.

    Example:
        >>> own_data("photos/cells"), own_data("data/cells.npz"), own_data("cifar10"), own_data("folder:a/b")
        ('folder', 'arrays', None, None)
    """
    if text in DATA_MODELS or text.partition(":")[0] in DATA_MODELS or len(text) > LONGEST_PATH or "\0" in text:
        return None
    path = Path(text)
    if len(path.parts) < 2 and not os.path.exists(path):
        return None
    if os.path.isdir(path):
        return "folder"
    kinds = {suffix: name for name, model in DATA_MODELS.items() for suffix in getattr(model, "suffixes", ())}
    return kinds.get(path.suffix.lower())


def expanded_data(value: Any) -> Any:
    """`cifar10`, `folder:PATH` and `arrays:FILE` are short for a mapping with a name; so is a path alone."""
    if isinstance(value, str) and (own := own_data(value)):
        return {"name": own, "path": value}
    if isinstance(value, str):
        name, _, path = value.partition(":")
        return {"name": name, "path": path} if path else {"name": name}
    if isinstance(value, Mapping) and str(value.get("name", "")).partition(":")[0] in OWN:
        name, _, path = str(value["name"]).partition(":")
        return {**value, "name": name, "path": path} if path else value
    return value


Data: TypeAlias = Annotated[DataSettings, ChosenFrom(DATA_MODELS), BeforeValidator(expanded_data)]
