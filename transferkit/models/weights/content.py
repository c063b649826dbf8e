"""What a file, a package or a run gives: tensors, where they came from, and how they want their images prepared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from transferkit.models.stored_model import InputSpec, WeightsRecord
from transferkit.models.weights.reading import Tensors

IMAGENET_PREPARATION = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}  # torchvision docs, "Models"


@dataclass(frozen=True)
class Weights:
    """What a file, a package or a run gives.

    Attributes:
        tensors: By name, in float32; an old classification layer may still be among them.
        record: Where they came from.
        preparation: Keys of InputSpec that travel with them (mean, std ...); empty where the file tells none.
    """

    tensors: Tensors = field(repr=False)
    record: WeightsRecord
    preparation: Mapping[str, Any] = field(default_factory=dict)


def input_spec(size: int, weights: Weights | None, default: Mapping[str, Any] = IMAGENET_PREPARATION) -> InputSpec:
    """How images are prepared: as the weights say, else by `default`."""
    return InputSpec(size=size, **{**default, **(weights.preparation if weights else {})})
