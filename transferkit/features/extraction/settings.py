"""What features are wanted, of which part of the images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from transferkit.data.reading import Reading
from transferkit.features.engine import BatchSize
from transferkit.features.extraction.files import DType
from transferkit.features.layer_network import Compile
from transferkit.features.layers import PENULTIMATE, Pool
from transferkit.runtime.errors import TransferkitError

Part = Literal["train", "val", "trainval", "test"]
PARTS = ("train", "val", "trainval", "test")


@dataclass(frozen=True)
class ExtractSettings:
    """What features are wanted; the words are those of FeatureExtractor."""

    backbone: str
    layers: tuple[str, ...] = (PENULTIMATE,)
    pool: Pool = "avg"
    weights: str = "imagenet"
    size: int | None = None
    resize: Literal["squash", "crop"] = "squash"
    part: Part = "trainval"
    shard: tuple[int, int] = (1, 1)
    skip_bad: bool = False
    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16", "int8"] = "auto"
    threads: int | None = None
    batch_size: BatchSize = "auto"
    compile: Compile = "auto"
    seed: int = 0
    dtype: DType = "float32"
    reading: Reading | None = None  # of files, where a finished run knows more than how rectangles become squares


def parsed_shard(text: str) -> tuple[int, int]:
    """Number and count from `3/16`.

    Example:
        >>> parsed_shard("3/16")
        (3, 16)

    Raises:
        TransferkitError: If it is not of this form.
    """
    number, _, count = text.partition("/")
    if not (number.isdigit() and count.isdigit() and 1 <= int(number) <= int(count)):
        raise TransferkitError(f"Cannot read the shard {text!r}. Expected NUMBER/COUNT, from 1/16 to 16/16.")
    return int(number), int(count)
