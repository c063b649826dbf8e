"""Features of a classifier from the store where they are; what it lacks is computed in one pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from transferkit.data.images import Images, Labels
from transferkit.features.engine import BatchSize, Engine, gathered
from transferkit.features.finite import finite
from transferkit.features.inventory import described
from transferkit.features.keys import Key, key_of, weights_digest
from transferkit.features.layer_network import LayerNetwork
from transferkit.features.layers import PENULTIMATE, Pool
from transferkit.features.pictures import Pictures, StorablePictures, taken
from transferkit.features.store import FeatureStore, open_store
from transferkit.models.classifier import Classifier
from transferkit.runtime.array_types import Features
from transferkit.runtime.console import Console
from transferkit.runtime.machine import Runtime


def stored_features(
    classifier: Classifier,
    images: Images,
    runtime: Runtime,
    console: Console,
    title: str,
    batch_size: BatchSize = "auto",
    layer: str = PENULTIMATE,
    pool: Pool = "avg",
) -> Features:
    """Features (N, D) of a classifier's body in eval mode, from the store where they are, else computed and stored.

    With the classifier's own test-time augmentation, as its head meets them in every other command.

    The classifier stays as it is, its head does not enter. Rows may be memory-mapped copy-on-write.

    Args:
        classifier: On any device; the computing happens on that of `machine`.
        images: Those already stored, in whatever split or subset, are not computed again.
        runtime: Where to compute.
        console: Shows progress, and how many images were in the store.
        title: Of the progress bar.
        batch_size: Images per forward pass; does not change the features.
        layer: By default the head's input.
        pool: Of a layer that gives maps.

    Raises:
        MachineError: If a feature is not finite; names layer and image.
    """
    return stored_layers(classifier, images, [layer], runtime, console, title, batch_size, pool)[layer]


def stored_layers(
    classifier: Classifier,
    images: Images,
    layers: Sequence[str],
    runtime: Runtime,
    console: Console,
    title: str,
    batch_size: BatchSize = "auto",
    pool: Pool = "avg",
) -> dict[str, Features]:
    """Features (N, D) of several layers by name; what the store lacks is computed in one pass. See `stored_features`.

    Raises:
        TransferkitError: If there is no such layer; names the nearest ones.
        MachineError: If a feature is not finite; names layer and image.
    """
    network = Lazily(lambda: LayerNetwork(classifier, layers, pool, runtime, console))
    if not len(images):
        return {layer.name: np.zeros((0, *layer.shape_after(pool)), np.float32) for layer in network.value.layers}
    computed_images = 0

    def compute(missing: Pictures, _: Sequence[str]) -> dict[str, Features]:
        nonlocal computed_images
        computed_images = max(computed_images, len(missing))
        with console.progress(title, len(missing), is_detail=True) as progress:
            batches = Engine(network.value, console, classifier.averaging).features_of(missing, progress, batch_size)
            return gathered(finite(batches, missing.ids), len(missing))

    about = described(classifier, images)
    store = open_store(console, about) if classifier.stages else None  # raw pixels are there already
    if store is None:
        return compute(images, layers)
    digest, spec, averaging = weights_digest(classifier.body), classifier.input_spec, classifier.averaging
    how = (pool, runtime.precision, runtime.device.type, averaging)
    keys = {name: key_of(digest, spec, images.size_px, name, *how) for name in layers}
    features = served(store, keys, images, compute)
    if known := len(images) - computed_images:
        console.detail(f"{title}: {known:,} of {len(images):,} img from the feature store, without a pass")
    return features


@dataclass
class Lazily:
    """A network that is made when it is first needed: features that are all stored need none."""

    make: Callable[[], LayerNetwork]

    @cached_property
    def value(self) -> LayerNetwork:
        """The network."""
        return self.make()


def served(
    store: FeatureStore,
    keys: Mapping[str, Key],
    pictures: StorablePictures,
    compute: Callable[[Pictures, Sequence[str]], dict[str, Features]],
) -> dict[str, Features]:
    """Features by layer, from the store where they are; what the first layer lacks is computed for all in one pass."""
    fresh: dict[str, Features] = {}
    chosen: Labels = np.zeros(0, np.int64)

    def compute_missing(missing: Labels, name: str) -> Features:
        nonlocal fresh, chosen
        if name not in fresh or not np.array_equal(chosen, missing):
            names = list(keys)[list(keys).index(name) :]
            chosen, fresh = missing, compute(taken(pictures, missing), names)
        return fresh.pop(name)

    digests = pictures.digests
    return {
        name: store.served(key, digests, lambda missing, name=name: compute_missing(missing, name))  # type: ignore[misc]
        for name, key in keys.items()
    }
