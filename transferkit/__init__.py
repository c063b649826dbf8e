"""Transfer learning with evidence: fine-tune, probe and compare image classifiers, and see their limits."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transferkit.api import compare, finetune, limits, probe, rank, scratch
    from transferkit.deploy.export import export
    from transferkit.deploy.export.mask_rcnn import mask_rcnn
    from transferkit.deploy.prediction import load
    from transferkit.features.extractor import FeatureExtractor
    from transferkit.runtime.errors import TransferkitError

__version__ = "0.1.0"

_PLACES = {
    "compare": "transferkit.api",
    "finetune": "transferkit.api",
    "probe": "transferkit.api",
    "scratch": "transferkit.api",
    "rank": "transferkit.api",
    "limits": "transferkit.api",
    "load": "transferkit.deploy.prediction",
    "export": "transferkit.deploy.export",
    "mask_rcnn": "transferkit.deploy.export.mask_rcnn",
    "FeatureExtractor": "transferkit.features.extractor",
    "TransferkitError": "transferkit.runtime.errors",
}

__all__ = [
    "FeatureExtractor",
    "TransferkitError",
    "compare",
    "export",
    "finetune",
    "limits",
    "load",
    "mask_rcnn",
    "probe",
    "rank",
    "scratch",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import transferkit` itself is instant."""
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'transferkit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
