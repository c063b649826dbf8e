"""Pretrained weights: where they are found, how they are checked, read without running code, and fitted to a body."""

from transferkit.weights.cached import local_or_downloaded, no_download, sha256_of
from transferkit.weights.fitting import fill, without_head
from transferkit.weights.reading import read_file
from transferkit.weights.sources import Weights, from_torchvision, input_spec, opened

__all__ = [
    "Weights",
    "fill",
    "from_torchvision",
    "input_spec",
    "local_or_downloaded",
    "no_download",
    "opened",
    "read_file",
    "sha256_of",
    "without_head",
]
