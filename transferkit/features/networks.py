"""The networks of this process: which one some settings mean, loaded once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, TypeAlias

import torch

from transferkit.features.keys import weights_digest
from transferkit.features.layer_network import LayerNetwork
from transferkit.features.layers import Pool
from transferkit.models import backbones
from transferkit.models.classifier import Classifier
from transferkit.models.stored_model import FILE as MODEL
from transferkit.models.stored_model import read_model
from transferkit.models.weights import location
from transferkit.recipe import BackboneSettings
from transferkit.runtime.console import Console
from transferkit.runtime.machine import Runtime

BandStatistics: TypeAlias = tuple[tuple[float, ...], tuple[float, ...]]  # mean and deviation of each, of [0, 1]


@dataclass(frozen=True)
class NetworkSource:
    """All that decides which network a FeatureExtractor uses.

    Attributes:
        weights_stamp: Changes when a file of weights does.
        bands: What images are normalised by in place of what the weights say; the stem is adapted to as many bands.
    """

    backbone: str
    weights: str
    weights_stamp: tuple[int, ...]
    size: int
    seed: int
    verbose: bool
    bands: BandStatistics | None = None


# Clones of an extractor, as a grid search makes them, share the networks of this process.
@lru_cache(maxsize=2)
def loaded(source: NetworkSource) -> tuple[Classifier, str]:
    """The network and the digest of its weights; random weights come from the seed, the global generator is left alone.

    Without pretrained weights the network keeps its ImageNet stem, as the pretrained one that it is compared with.
    """
    stem: Literal["auto", "imagenet"] = "imagenet" if source.weights == "none" else "auto"
    settings = BackboneSettings(name=source.backbone, weights=source.weights, stem=stem)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(source.seed)
        classifier = backbones.load(settings, ("-",), source.size, Console(quiet=not source.verbose)).eval()
        if source.bands is not None:
            classifier.adapt_to_bands(*source.bands)
    return classifier, weights_digest(classifier.body)


@lru_cache(maxsize=2)
def layer_network(
    source: NetworkSource, layers: tuple[str, ...], pool: Pool, runtime: Runtime, verbose: bool
) -> LayerNetwork:
    """The fast form of a network for some layers."""
    return LayerNetwork(loaded(source)[0], layers, pool, runtime, Console(quiet=not verbose))


def stamp(weights: str) -> tuple[int, ...]:
    """Time and size of a file of weights or of a run's model; empty for names."""
    path = location(weights)
    file = path / "model.safetensors" if path.is_dir() else path
    return (file.stat().st_mtime_ns, file.stat().st_size) if file.is_file() else ()


def default_px(backbone: str, weights: str) -> int:
    """The side that a network's weights were made for."""
    folder = Path(weights).expanduser()
    if (folder / MODEL).is_file():
        return read_model(folder).input.size
    return backbones.lookup(BackboneSettings(name=backbone, weights=weights)).made_for_px()


def bands_of_weights(weights: str) -> int:
    """How many bands the images have that weights were made for: those of a run, of all others three."""
    folder = Path(weights).expanduser()
    return len(read_model(folder).input.mean) if (folder / MODEL).is_file() else 3


def views_words(weights: str) -> str:
    """That a run's own answers rest on more than the image, where they do; empty for other weights."""
    folder = Path(weights).expanduser()
    model = read_model(folder) if (folder / MODEL).is_file() else None
    if model is None or not (model.averages_mirror or model.averages_shifts):
        return ""
    return (
        f"The run {weights} answers from several views of an image (test_flip, test_shifts). These are features of the "
        "image alone; those of its own head are in its outputs/."
    )
