"""What a file, a package or a run gives: tensors, where they came from, and how they want their images prepared."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from transferkit.models.stored_model import InputSpec, Numbers, WeightsRecord
from transferkit.models.weights.reading import Tensors


@dataclass(frozen=True)
class Preparation:
    """What of an InputSpec travels with weights; None where nothing is told of it.

    Attributes:
        mean: Per channel (R, G, B), for pixels in [0, 1].
        std: Per channel, likewise.
        interpolation: Of the resize.
        crop: Share of the sides kept around the centre.
    """

    mean: Numbers
    std: Numbers
    interpolation: Literal["bilinear", "bicubic"] | None = None
    crop: float | None = None


def interpolation_named(name: object) -> Literal["bilinear", "bicubic"] | None:
    """The resize of that name; None for others."""
    return "bilinear" if name == "bilinear" else "bicubic" if name == "bicubic" else None


IMAGENET_PREPARATION = Preparation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # torchvision docs, "Models"


@dataclass(frozen=True)
class Weights:
    """What a file, a package or a run gives.

    Attributes:
        tensors: By name, in float32; an old classification layer may still be among them.
        record: Where they came from.
        preparation: What they were trained with; None where the file tells nothing.
    """

    tensors: Tensors = field(repr=False)
    record: WeightsRecord
    preparation: Preparation | None = None


def input_spec(size: int, weights: Weights | None, default: Preparation = IMAGENET_PREPARATION) -> InputSpec:
    """How images are prepared: as the weights say, else by `default`."""
    chosen = (weights.preparation if weights else None) or default
    interpolation = chosen.interpolation or default.interpolation or "bilinear"
    return InputSpec(size, chosen.mean, chosen.std, interpolation, chosen.crop or default.crop or 1.0)
