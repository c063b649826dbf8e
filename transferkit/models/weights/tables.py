"""The table by which a Python package offers weights: `weights.toml` in its folder, data that is read and never run."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, field_validator

from transferkit.recipe import RecipePart, checked
from transferkit.runtime.errors import TransferkitError

TABLE = "weights.toml"
LARGEST_BYTES = 1_000_000

Share: TypeAlias = Annotated[float, Field(ge=-10, le=10, allow_inf_nan=False)]
Spread: TypeAlias = Annotated[float, Field(gt=0, le=10, allow_inf_nan=False)]


class PackagedFile(RecipePart):
    """One file of weights in a Python package, an entry `[[weights]]` of its table."""

    backbone: str = Field(pattern=r"^[\w./-]{1,100}$", description="What backbone.name takes.")
    name: str = Field(pattern=r"^[A-Za-z][\w-]{0,60}$", description="What --weights takes; imagenet for ImageNet-1k.")
    file: str = Field(min_length=1, max_length=300, description="Below the package's folder, with forward slashes.")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="Of the whole file, in lower-case hex digits.")
    licence: str = Field(min_length=1, max_length=100, description="Of the weights.")
    mean: tuple[Share, Share, Share] = Field(description="Per channel (R, G, B), for pixels in [0, 1].")
    std: tuple[Spread, Spread, Spread] = Field(description="Per channel, likewise.")
    size: int = Field(ge=1, le=4096, description="Side in px of the images that they were trained for.")
    names: Literal["same"] | dict[str, str] = Field(
        "same", description="Module paths in the file to those of the network, the longest counts; or same."
    )

    @field_validator("name")
    @classmethod
    def _not_a_word_of_ours(cls, name: str) -> str:
        if name == "none":
            raise ValueError("none means random weights; choose another name")
        return name

    @field_validator("file")
    @classmethod
    def _inside_the_package(cls, file: str) -> str:
        if not file.isprintable() or "\\" in file or ":" in file or file.startswith("/") or ".." in file.split("/"):
            raise ValueError(f"must lie below the package's folder, with forward slashes; found {file!r}")
        return file


class Table(RecipePart):
    """The whole table."""

    weights: tuple[PackagedFile, ...] = Field(min_length=1, max_length=1000)


def read_table(folder: Path) -> tuple[PackagedFile, ...]:
    """What the table in a package's folder offers.

    Raises:
        TransferkitError: If there is no table, it is no TOML, or a value is missing or senseless; names the key.
    """
    path = folder / TABLE
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise TransferkitError(f"{path} is larger than a table of weights can be ({LARGEST_BYTES:,} bytes).")
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise TransferkitError(f"{path} cannot be read: {error}.") from error
    return checked(Table, values, str(path)).weights
