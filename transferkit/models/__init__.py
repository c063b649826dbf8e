"""Networks: the classifier, its backbones, their weights, and the linear heads that are solved on its features."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transferkit.runtime.lazy_names import lazily

if TYPE_CHECKING:
    from transferkit.models.adapters import merge
    from transferkit.models.backbones.shapes import Window
    from transferkit.models.classifier import Classifier
    from transferkit.models.creation import create
    from transferkit.models.linear import LinearHead, fit_probe
    from transferkit.models.receptive_fields import layers
    from transferkit.models.stored_model import InputSpec

_PLACES = {
    "Classifier": "classifier",
    "InputSpec": "stored_model",
    "LinearHead": "linear",
    "Window": "backbones.shapes",
    "create": "creation",
    "fit_probe": "linear",
    "layers": "receptive_fields",
    "merge": "adapters",
}

__all__ = [
    "Classifier",
    "InputSpec",
    "LinearHead",
    "Window",
    "create",
    "fit_probe",
    "layers",
    "merge",
]

__getattr__ = lazily(__name__, _PLACES)
