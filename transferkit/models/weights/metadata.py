"""What a .safetensors file says of itself in its metadata, which holds texts alone."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from safetensors import SafetensorError, safe_open

from transferkit.models.stored_model import InputSpec, WeightsRecord
from transferkit.models.weights.content import Preparation, interpolation_named
from transferkit.models.weights.facts_beside import px_beside
from transferkit.runtime.errors import TransferkitError, quoted
from transferkit.runtime.json_files import JsonObject


def metadata_of(spec: InputSpec, weights: WeightsRecord) -> JsonObject:
    """The values from which `--weights FILE` knows how images are prepared; stored as JSON."""
    return {**asdict(spec), "licence": weights.licence}


def stated_preparation(path: Path, metadata: Mapping[str, str]) -> Preparation | None:
    """How the images of a file of weights are prepared; None where it lacks mean or std.

    Raises:
        TransferkitError: If it says something that images cannot be prepared with.
    """
    mean, std = (_triple(path, key, text) if (text := metadata.get(key)) else None for key in ("mean", "std"))
    if not (mean and std):
        return None
    crop = re.fullmatch(r"0?\.\d+|1(?:\.0*)?", metadata.get("crop", ""))
    share = float(crop[0]) if crop else 0.0
    return Preparation(mean, std, interpolation_named(metadata.get("interpolation", "").strip('"')), share or None)


def stated_licence(metadata: Mapping[str, str]) -> str:
    """As a file's metadata says; unknown where it says nothing."""
    return (metadata.get("licence") or metadata.get("license") or "unknown").strip('"')


def stated_px(path: Path) -> int | None:
    """The side in px that a run or a file of weights says it was trained with; None where it says nothing.

    A .safetensors file says it in its metadata as `size`, or in `top1` as in `0.462 at 64 px`; else timm's
    config.json beside it may.
    """
    try:
        if path.is_dir():
            return int(json.loads((path / "model.json").read_text(encoding="utf-8"))["input"]["size"])
        if path.suffix != ".safetensors":
            return None
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
    except (OSError, ValueError, KeyError, TypeError, SafetensorError):
        return None  # what is wrong with them is said where they are loaded
    stated = re.fullmatch(r"\s*(\d{1,4})\s*", metadata.get("size", ""))
    stated = stated or re.search(r"\bat (\d{1,4}) px\b", metadata.get("top1", ""))
    return (int(stated.group(1)) or None) if stated else px_beside(path)


def _triple(path: Path, key: str, text: str) -> tuple[float, float, float]:
    """Three numbers written as `0.485,0.456,0.406`.

    Raises:
        TransferkitError: If they are anything else, or nothing that images can be prepared with.
    """
    try:
        first, second, third = (float(number) for number in text.strip("[]() ").split(","))
    except ValueError:
        first = second = third = math.nan
    if not all(math.isfinite(number) and (key == "mean" or number > 0) for number in (first, second, third)):
        kind = "finite" if key == "mean" else "positive"
        raise TransferkitError(
            f"{path} says in its metadata that {key} is {quoted(text)}. Expected three {kind} numbers, as in "
            "0.485,0.456,0.406. Save the file with the right ones, or without them to prepare images as for ImageNet."
        )
    return first, second, third
