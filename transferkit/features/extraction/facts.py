"""What lies beside a file of features, and beside the chunks of an unfinished one: what decided them, and of what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from transferkit.models.stored_model import InputSpec

FORMAT = 1  # of the chunks, the index and the facts

Positive = Annotated[int, Field(gt=0)]


@dataclass(frozen=True)
class ShardFacts:
    """A part of a merged whole.

    Attributes:
        number: From 1 on.
        rows: How many.
        sha256: Of their bytes, see `files.row_digest`.
    """

    number: int
    rows: int
    sha256: str


@dataclass(frozen=True)
class ExtractionFacts:
    """What decides features, and which images they are of.

    Attributes:
        format: Of the chunks, the index and this.
        weights_digest: Of the network's tensors.
        shapes: Of the features of one image, by layer.
        versions: Of the libraries.
        images: As they were asked for.
        listing: Digest of all images' names.
        images_in_all: Over all shards.
        shard: Number and count.
        rows: None while it is unfinished.
        skipped: Id and reason of each unreadable image.
        dtype: Of the numbers.
        sha256: Of the rows' bytes, see `files.row_digest`.
        shards: What a merged whole is made of, in this order.
    """

    format: int
    backbone: str
    weights: str
    weights_digest: str
    input: InputSpec
    resize: str
    pool: str
    shapes: dict[str, tuple[Positive, ...]]
    precision: str
    device: str
    versions: dict[str, str]
    images: str
    listing: str
    images_in_all: int
    class_names: tuple[str, ...]
    shard: tuple[int, int]
    skip_bad: bool
    rows: int | None = None
    skipped: tuple[tuple[str, str], ...] = ()
    dtype: Literal["float32", "float16"] = "float32"
    sha256: str = ""
    shards: tuple[ShardFacts, ...] = ()


@dataclass(frozen=True)
class FactsFormat:
    """The number alone by which a newer version's facts are known."""

    format: int
