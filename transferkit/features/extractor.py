"""Features of images as a scikit-learn transformer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, TransformerMixin
from torch import nn

from transferkit.data import band_files
from transferkit.data.images import Images
from transferkit.data.reading import Reading
from transferkit.features.engine import BatchSize, Engine, gathered
from transferkit.features.finite import finite
from transferkit.features.inventory import described
from transferkit.features.keys import Key, key_of
from transferkit.features.layer_network import Compile, LayerNetwork
from transferkit.features.layers import PENULTIMATE, Pool, require_pool
from transferkit.features.networks import (
    BandStatistics,
    NetworkSource,
    bands_of_weights,
    default_px,
    layer_network,
    loaded,
    stamp,
)
from transferkit.features.pictures import ImageFiles, Pictures, StorablePictures, as_pictures, bands_in
from transferkit.features.store import open_store
from transferkit.features.stored import served
from transferkit.models.backbones import own_modules
from transferkit.recipe.references import weights_source
from transferkit.runtime import machine
from transferkit.runtime.argument_types import in_python_words
from transferkit.runtime.array_types import Features
from transferkit.runtime.console import Console
from transferkit.runtime.errors import TransferkitError, did_you_mean, quoted
from transferkit.runtime.machine import Runtime

CHECKED: tuple[tuple[str, Any, str], ...] = (
    ("layer", str | None, "the name of a layer, or None for the head's input"),
    ("size", int | None, "a number of px, or None for that of the weights"),
    ("seed", int, "a whole number"),
    ("store", bool, "True or False"),
    ("verbose", bool, "True or False"),
)
CHOICES = {"resize": ("squash", "crop"), "compile": ("auto", "on", "off")}


class FeatureExtractor(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Features of a pretrained network as a scikit-learn transformer; it holds settings only, never the network.

    `transform` takes a uint8 array (N, H, W, 3) or (N, 3, H, W), a list of paths, PIL images or arrays of one size,
    `Images`, the path of a folder (its images in the order of their paths), or a table's column of paths. Files are
    decoded to the network's size; arrays are resized on the device as everywhere in transferkit. Images of other bands
    are taken where weights are a run's of such images, or where mean and std say how to normalise each band.

    Example:
        >>> import numpy as np
        >>> extractor = FeatureExtractor("resnet-mini", weights="none", layer="stage2", store=False)
        >>> extractor.transform(np.zeros((2, 32, 32, 3), np.uint8)).shape
        (2, 64)
    """

    def __init__(
        self,
        backbone: str | nn.Module = "resnet18",
        *,
        layer: str | None = None,
        pool: Pool = "avg",
        weights: str = "imagenet",
        size: int | None = None,
        resize: Literal["squash", "crop"] = "squash",
        device: str = "auto",
        precision: Literal["auto", "fp32", "bf16"] = "auto",
        batch_size: BatchSize = "auto",
        compile: Compile = "auto",
        store: bool = True,
        seed: int = 0,
        verbose: bool = False,
        stages: Any = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        """Keep the settings; the network is loaded when it is first needed.

        Args:
            backbone: As on the command line: resnet18, vgg16_bn, timm/<name> ...; or a network of your own, an
                `nn.Module`, whose last linear layer is taken off.
            layer: A module of the body (`layer4`, `layer3.0.conv2`), a stage, or None for the head's input.
            pool: How a map (N, C, H, W) becomes (N, D): avg, max or flatten; none keeps it.
            weights: imagenet, none (random, from `seed`), a file, or a run's folder.
            size: Side of the network's input in px; None: that of the weights (224 for ImageNet).
            resize: How rectangular files become square: squash, or crop the middle.
            device: auto, cpu, cuda, cuda:1 or mps.
            precision: auto takes bf16 where the hardware has it.
            batch_size: Images per forward pass.
            compile: auto compiles when so many images are ahead that it pays; on and off decide.
            store: Keep features on disk and serve them from there (not for pool none).
            seed: Of random weights.
            verbose: Show progress and choices on stderr.
            stages: Of a network of your own, as in `finetune`.
            mean: What images in [0, 1] are normalised by in place of what the weights say, a number for each band; a
                backbone by name is adapted to as many bands, as `finetune` does it.
            std: Likewise.
        """
        self.backbone = backbone
        self.layer = layer
        self.pool = pool
        self.weights = weights
        self.size = size
        self.resize = resize
        self.device = device
        self.precision = precision
        self.batch_size = batch_size
        self.compile = compile
        self.store = store
        self.seed = seed
        self.verbose = verbose
        self.stages = stages
        self.mean = mean
        self.std = std

    @in_python_words()
    def fit(self, X: Any = None, y: Any = None) -> FeatureExtractor:  # noqa: ARG002 - scikit-learn's signature
        """Nothing is learnt; this extractor.

        Raises:
            TransferkitError: If a setting is of a wrong kind.
        """
        self._require_kinds()
        return self

    @in_python_words()
    def transform(self, X: Any) -> Features:
        """Features (N, D) float32 of the images; maps (N, C, H, W) for pool none.

        Raises:
            TransferkitError: If the images cannot be read, a setting is of a wrong kind, or backbone, weights or layer
                do not exist.
            MachineError: If a feature is not finite; names layer and image.
        """
        name = self.layer or PENULTIMATE
        return self.extract(X, [name])[name]

    def extract(self, images: Any, layers: Sequence[str]) -> dict[str, Features]:
        """Features of several layers in one pass, by the names asked for; `penultimate` is the head's input."""
        self._require_kinds()
        pictures = pictures_of(images, self._side_px, self.resize, self._channels)
        require_pool(self.pool)
        about = described(loaded(self._source)[0], pictures)
        store = open_store(self._screen, about) if self.store and self.pool != "none" else None
        if store is None:
            return gathered(self._batches(pictures, layers), len(pictures))
        keys = {name: self._key(pictures, name) for name in layers}
        return served(
            store, keys, pictures, lambda missing, names: gathered(self._batches(missing, names), len(missing))
        )

    def iterate(self, images: Any, layers: Sequence[str] | None = None) -> Iterator[dict[str, Features]]:
        """Features batch by batch, in order, by layer; never more than a batch is held, and nothing is stored."""
        self._require_kinds()
        pictures = pictures_of(images, self._side_px, self.resize, self._channels)
        return self._batches(pictures, layers or [self.layer or PENULTIMATE])

    def get_feature_names_out(self, input_features: Any = None) -> npt.NDArray[np.object_]:  # noqa: ARG002
        """One name per feature: layer and number.

        Raises:
            TransferkitError: If features are maps, which have no columns.
        """
        name = self.layer or PENULTIMATE
        shape = self._network([name]).layers[0].shape_after(self.pool)
        if len(shape) != 1:
            raise TransferkitError(f"Features of shape {shape} have no columns. Use pool avg, max or flatten.")
        return np.array([f"{name}_{number}" for number in range(shape[0])], dtype=object)

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.no_validation = True
        tags.input_tags.two_d_array = False  # images, not rows of numbers
        tags.input_tags.string = True  # paths
        tags.transformer_tags.preserves_dtype = []  # features are float32 always
        return tags

    def _require_kinds(self) -> None:
        """Settings are kept as they are given, as scikit-learn wants it, and looked at when they are used."""
        if not isinstance(self.backbone, str | nn.Module):
            raise TransferkitError(
                "FeatureExtractor takes the name of a backbone, such as 'resnet18' or 'timm/vit_tiny_patch16_224', or "
                f"an nn.Module; found {of_kind(self.backbone)}."
            )
        if not isinstance(self.weights, str):
            raise TransferkitError(
                f"weights is {of_kind(self.weights)}. Expected imagenet, none, hf:USER/NAME, or the path of a "
                "file or of a run's folder as text."
            )
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise TransferkitError(
                    f"{name} is {quoted(getattr(self, name))}. {did_you_mean(str(getattr(self, name)), choices)}"
                )
        for name, kinds, expected in CHECKED:
            if not isinstance(getattr(self, name), kinds):
                raise TransferkitError(f"{name} is {quoted(getattr(self, name))}. Expected {expected}.")

    @property
    def _screen(self) -> Console:
        return Console(quiet=not self.verbose)

    @property
    def _runtime(self) -> Runtime:
        """Where to compute."""
        return machine.as_found(self.device, self.precision)

    @property
    def _named(self) -> tuple[str, str]:
        """The backbone and its weights; a network of one's own under the name that it has in this process."""
        if isinstance(self.backbone, str):
            return self.backbone, weights_source(self.weights)
        settings = own_modules.give(self.backbone, self.size, self.stages, self.mean, self.std).settings
        return settings.name, settings.weights

    @property
    def _side_px(self) -> int:
        return self.size or default_px(*self._named)

    @property
    def _source(self) -> NetworkSource:
        backbone, weights = self._named
        return NetworkSource(backbone, weights, stamp(weights), self._side_px, self.seed, self.verbose, self._bands)

    @property
    def _bands(self) -> BandStatistics | None:
        """What images are normalised by in place of what the weights say; a network of one's own knows it already."""
        if not isinstance(self.backbone, str) or (self.mean is None and self.std is None):
            return None
        return band_statistics(self.mean, self.std)

    @property
    def _channels(self) -> int:
        """How many bands the images must have."""
        if (bands := self._bands) is not None:
            return len(bands[0])
        return bands_of_weights(self._named[1])

    def _network(self, layers: Sequence[str]) -> LayerNetwork:
        return layer_network(self._source, tuple(layers), self.pool, self._runtime, self.verbose)

    def _key(self, pictures: StorablePictures, layer: str) -> Key:
        classifier, digest = loaded(self._source)
        runtime = self._runtime
        spec, place = classifier.input_spec, runtime.device.type
        return key_of(digest, spec, pictures.size_px, layer, self.pool, runtime.precision, place)

    def _batches(self, pictures: Pictures, layers: Sequence[str]) -> Iterator[dict[str, Features]]:
        engine = Engine(self._network(layers), self._screen, compile=self.compile)
        with self._screen.progress(f"features of {self._named[0]}", len(pictures)) as progress:
            yield from finite(engine.features_of(pictures, progress, self.batch_size), pictures.ids)


def pictures_of(images: Any, side_px: int, resize: str, channels: int) -> StorablePictures:
    """Images of many kinds, refused where they have other bands than the network takes.

    Raises:
        TransferkitError: If there are none, their kind is unknown, or an array or the first array file has other bands.
    """
    if (bands := bands_in_memory(images)) not in (None, channels):
        first = images[0] if isinstance(images, list | tuple) else images
        came = f"Images of {bands} bands" if isinstance(first, Images) else f"{first.dtype} {tuple(first.shape)}"
        raise other_bands(came, channels)
    pictures = as_pictures(images, side_px, Reading(resize, channels=channels))
    files = pictures.sources if isinstance(pictures, ImageFiles) else ()
    path = next(filter(band_files.are_bands, files), None)
    if path is not None and (bands := band_files.shape_of(path)[2]) != channels and (bands, channels) != (1, 3):
        raise other_bands(f"{bands} bands in {path}", channels)
    return pictures


def bands_in_memory(images: Any) -> int | None:
    """How many bands `Images` or arrays have; None for all that is still to be read."""
    if isinstance(images, Images):
        return images.bands
    first = images[0] if isinstance(images, list | tuple) and images else images
    is_array = hasattr(first, "dtype") and len(getattr(first, "shape", ())) > 1
    return bands_in(images) if is_array else None


def other_bands(images: str, channels: int) -> TransferkitError:
    """That a network takes images of other bands than these, and what to do."""
    if channels != 3:
        return TransferkitError(f"Expected images of {channels} bands, as the network takes them; found {images}.")
    return TransferkitError(
        "Expected uint8 images of red, green and blue, since FeatureExtractor learns nothing, and other bands are "
        f"normalised by statistics of training images; found {images}. Give the weights of a run of such images, as in "
        "weights='runs/NAME', or mean and std with a number for each band. probe, finetune and TransferClassifier "
        "measure them."
    )


def band_statistics(mean: Any, std: Any) -> BandStatistics:
    """Mean and deviation of each band.

    Raises:
        TransferkitError: If there is not one of each for every band, or one is of no use.
    """
    try:
        means, deviations = (tuple(map(float, values)) for values in (mean, std))
    except (TypeError, ValueError):
        means, deviations = (), ()
    usable = np.isfinite([*means, *deviations]).all() and min(deviations, default=0) > 0
    if not usable or len(means) != len(deviations):
        raise TransferkitError(
            "mean and std are given together, a number for each band of images in [0, 1], std above 0, as in "
            f"mean=[0.5] * 5, std=[0.2] * 5; found mean {quoted(mean)} and std {quoted(std)}."
        )
    return means, deviations


def of_kind(value: Any) -> str:
    """What came in place of a text: a number as it is, of other things the kind."""
    if isinstance(value, int | float):
        return repr(value)
    name = type(value).__name__
    return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"
