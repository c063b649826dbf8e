"""Pretrained weights: where they are found, how they are checked, read without running code, and fitted to a body."""

from transferkit.models.weights.cached import download_file, is_cached, local, no_download, sha256_of
from transferkit.models.weights.content import Weights, input_spec
from transferkit.models.weights.fitting import fill, without_head
from transferkit.models.weights.hub import location
from transferkit.models.weights.metadata import metadata_of, stated_px
from transferkit.models.weights.packages import (
    PACKAGE_ADVICE,
    Installed,
    Offer,
    from_packages,
    installed,
    is_packaged,
    packaged_px,
)
from transferkit.models.weights.reading import read_file
from transferkit.models.weights.sources import from_torchvision, open_weights, require_weights_source, torchvision_url

__all__ = [
    "PACKAGE_ADVICE",
    "Installed",
    "Offer",
    "Weights",
    "download_file",
    "fill",
    "from_packages",
    "from_torchvision",
    "input_spec",
    "installed",
    "is_cached",
    "is_packaged",
    "local",
    "location",
    "metadata_of",
    "no_download",
    "open_weights",
    "packaged_px",
    "read_file",
    "require_weights_source",
    "sha256_of",
    "stated_px",
    "torchvision_url",
    "without_head",
]
