"""Features of images from any layer: a scikit-learn transformer, and what probes and curves take from the store."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from torch import Tensor

from transferkit import backbones, runtime
from transferkit.batches import to_device
from transferkit.checkpoint import read_json
from transferkit.classifier import Classifier
from transferkit.decoding import EXTENSIONS, decode
from transferkit.errors import MachineError, TransferkitError
from transferkit.features.about import about
from transferkit.features.arrays import Features
from transferkit.features.inference import Compile, LayerNetwork
from transferkit.features.keys import Key, key_of, weights_digest
from transferkit.features.layers import PENULTIMATE, Pool, require_pool
from transferkit.features.store import FeatureStore, open_store
from transferkit.images import Images, Labels, Pixels, image_digest
from transferkit.outputs import Outputs, collect, require_finite_logits
from transferkit.recipe import BackboneSettings
from transferkit.runtime import Runtime
from transferkit.screen import Progress, Screen

BatchSize = int | Literal["auto"]

IMAGENET_PX = 224
SMALL_PX = 32  # what the networks for small images were made for
BATCH_PIXELS = {"cpu": 32 * 224**2, "cuda": 256 * 224**2}  # per batch; on a CPU larger maps fall out of its caches
LARGEST_BATCH = {"cpu": 256, "cuda": 1024}
LOOK_AFTER = 4  # batches whose time is measured before it is decided whether to compile
DIGEST_ROWS = 4096
HEAD_ROWS = 4096  # features that pass through a head at once
TRAINED_BATCH = 256  # images per pass through a classifier as it is


class Pictures(Protocol):
    """What features are computed of: `Images`, or files that are decoded when they are taken."""

    @property
    def ids(self) -> Sequence[str]:
        """The path or index of each image."""

    def take(self, indices: Labels) -> Pixels:
        """(B, 3, H, W) uint8."""

    def __len__(self) -> int: ...


class StorablePictures(Pictures, Protocol):
    """Pictures that the feature store can tell apart."""

    @property
    def size_px(self) -> tuple[int, int]:
        """Height and width in px."""

    @property
    def digests(self) -> Pixels:
        """(N, 16), one digest per image."""


# ------------------------------------------------------------------------------------------------------ transformer


class FeatureExtractor(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Features of a pretrained network as a scikit-learn transformer; it holds settings only, never the network.

    `transform` takes a uint8 array (N, H, W, 3) or (N, 3, H, W), a list of paths, PIL images or arrays of one size,
    `Images`, the path of a folder (its images in the order of their paths), or a table's column of paths. Files are
    decoded to the network's size; arrays are resized on the device as everywhere in transferkit.

    Example:
        >>> import numpy as np
        >>> extractor = FeatureExtractor("resnet-mini", weights="none", layer="stage2", store=False)
        >>> extractor.transform(np.zeros((2, 32, 32, 3), np.uint8)).shape
        (2, 64)
    """

    def __init__(
        self,
        backbone: str = "resnet18",
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
    ) -> None:
        """Keep the settings; the network is loaded when it is first needed.

        Args:
            backbone: As on the command line: resnet18, vgg16_bn, timm/<name> ...
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

    def fit(self, X: Any = None, y: Any = None) -> FeatureExtractor:  # noqa: ARG002 - scikit-learn's signature
        """Nothing is learnt; this extractor."""
        return self

    def transform(self, X: Any) -> Features:
        """Features (N, D) float32 of the images; maps (N, C, H, W) for pool none.

        Raises:
            TransferkitError: If the images cannot be read, or backbone, weights or layer do not exist.
            MachineError: If a feature is not finite; names layer and image.
        """
        name = self.layer or PENULTIMATE
        return self.extract(X, [name])[name]

    def extract(self, images: Any, layers: Sequence[str]) -> dict[str, Features]:
        """Features of several layers in one pass, by the names asked for; `penultimate` is the head's input."""
        pictures = as_pictures(images, self._side_px, self.resize)
        require_pool(self.pool)
        told = about(loaded(self._source)[0], pictures)
        store = open_store(self._screen, told) if self.store and self.pool != "none" else None
        if store is None:
            return gathered(self._batches(pictures, layers), len(pictures))
        keys = {name: self._key(pictures, name) for name in layers}
        return served(
            store, keys, pictures, lambda missing, names: gathered(self._batches(missing, names), len(missing))
        )

    def iterate(self, images: Any, layers: Sequence[str] | None = None) -> Iterator[dict[str, Features]]:
        """Features batch by batch, in order, by layer; never more than a batch is held, and nothing is stored."""
        pictures = as_pictures(images, self._side_px, self.resize)
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
        return tags

    @property
    def _screen(self) -> Screen:
        return Screen(quiet=not self.verbose)

    @property
    def _runtime(self) -> Runtime:
        """Where to compute; threads and other settings of the process stay as the caller has them."""
        device = runtime.choose_device(self.device)
        return Runtime(device, runtime.choose_precision(device, self.precision), torch.get_num_threads())

    @property
    def _side_px(self) -> int:
        return self.size or default_px(self.backbone, self.weights)

    @property
    def _source(self) -> NetworkSource:
        return NetworkSource(self.backbone, self.weights, stamp(self.weights), self._side_px, self.seed, self.verbose)

    def _network(self, layers: Sequence[str]) -> LayerNetwork:
        return layer_network(self._source, tuple(layers), self.pool, self._runtime, self.verbose)

    def _key(self, pictures: StorablePictures, layer: str) -> Key:
        classifier, digest = loaded(self._source)
        machine = self._runtime
        spec, place = classifier.input_spec, machine.device.type
        return key_of(digest, spec, pictures.size_px, layer, self.pool, machine.precision, place)

    def _batches(self, pictures: Pictures, layers: Sequence[str]) -> Iterator[dict[str, Features]]:
        network = self._network(layers)
        size = chosen_batch_size(self.batch_size, network)
        with self._screen.progress(f"features of {self.backbone}", len(pictures)) as progress:
            pace = Pace(network, -(-len(pictures) // size), self.compile)
            yield from computed(pace, pictures, size, progress)


@dataclass(frozen=True)
class NetworkSource:
    """All that decides which network a FeatureExtractor uses; `weights_stamp` changes when a file of weights does."""

    backbone: str
    weights: str
    weights_stamp: tuple[int, ...]
    size: int
    seed: int
    verbose: bool


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
        classifier = backbones.load(settings, ("-",), source.size, Screen(quiet=not source.verbose)).eval()
    return classifier, weights_digest(classifier.body)


@lru_cache(maxsize=2)
def layer_network(
    source: NetworkSource, layers: tuple[str, ...], pool: Pool, machine: Runtime, verbose: bool
) -> LayerNetwork:
    """The fast form of a network for some layers."""
    return LayerNetwork(loaded(source)[0], layers, pool, machine, Screen(quiet=not verbose))


def views_words(weights: str) -> str:
    """That a run's own answers rest on more than the image, where they do; empty for other weights."""
    file = Path(weights).expanduser() / "model.json"
    facts = read_json(file) if file.is_file() else {}
    if not (facts.get("averages_mirror") or facts.get("averages_shifts")):
        return ""
    return (
        f"The run {weights} answers from several views of an image (test_flip, test_shifts). These are features of the "
        "image alone; those of its own head are in its outputs/."
    )


def stamp(weights: str) -> tuple[int, ...]:
    """Time and size of a file of weights or of a run's model; empty for names."""
    path = Path(weights).expanduser()
    file = path / "model.safetensors" if path.is_dir() else path
    return (file.stat().st_mtime_ns, file.stat().st_size) if file.is_file() else ()


def default_px(backbone: str, weights: str) -> int:
    """The side that a network's weights were made for."""
    facts = Path(weights).expanduser() / "model.json"
    if facts.is_file():
        return int(read_json(facts)["input"]["size"])
    if backbones.source(backbone) != "timm":
        return SMALL_PX if backbones.source(backbone) == "small" else IMAGENET_PX
    from timm.models import get_pretrained_cfg

    found = get_pretrained_cfg(backbone.removeprefix("timm/"))
    return int(found.input_size[-1]) if found is not None else IMAGENET_PX


# -------------------------------------------------------------------------------------------- probes, curves, LP-FT


def stored_features(
    classifier: Classifier,
    images: Images,
    machine: Runtime,
    screen: Screen,
    title: str,
    batch_size: BatchSize = "auto",
    layer: str = PENULTIMATE,
    pool: Pool = "avg",
) -> Features:
    """Features (N, D) of a classifier's body in eval mode, from the store where they are, else computed and stored.

    The classifier stays as it is, its head does not enter. Rows may be memory-mapped copy-on-write.

    Args:
        classifier: On any device; the computing happens on that of `machine`.
        images: Those already stored, in whatever split or subset, are not computed again.
        machine: Where to compute.
        screen: Shows progress, and how many images were in the store.
        title: Of the progress bar.
        batch_size: Images per forward pass; does not change the features.
        layer: By default the head's input.
        pool: Of a layer that gives maps.

    Raises:
        MachineError: If a feature is not finite; names layer and image.
    """
    return stored_layers(classifier, images, [layer], machine, screen, title, batch_size, pool)[layer]


def stored_layers(
    classifier: Classifier,
    images: Images,
    layers: Sequence[str],
    machine: Runtime,
    screen: Screen,
    title: str,
    batch_size: BatchSize = "auto",
    pool: Pool = "avg",
) -> dict[str, Features]:
    """Features (N, D) of several layers by name; what the store lacks is computed in one pass. See `stored_features`.

    Raises:
        TransferkitError: If there is no such layer; names the nearest ones.
        MachineError: If a feature is not finite; names layer and image.
    """
    network = Lazily(lambda: LayerNetwork(classifier, layers, pool, machine, screen))
    if not len(images):
        return {found.name: np.zeros((0, *found.shape_after(pool)), np.float32) for found in network.value.layers}
    computed_images = 0

    def compute(missing: Pictures, _: Sequence[str]) -> dict[str, Features]:
        nonlocal computed_images
        computed_images = max(computed_images, len(missing))
        size = chosen_batch_size(batch_size, network.value)
        with screen.progress(title, len(missing)) as progress:
            pace = Pace(network.value, -(-len(missing) // size))
            return gathered(computed(pace, missing, size, progress), len(missing))

    told = about(classifier, images)
    store = open_store(screen, told) if classifier.stages else None  # raw pixels are there already
    if store is None:
        return compute(images, layers)
    digest, spec, place = weights_digest(classifier.body), classifier.input_spec, machine.device.type
    keys = {name: key_of(digest, spec, images.size_px, name, pool, machine.precision, place) for name in layers}
    features = served(store, keys, images, compute)
    if known := len(images) - computed_images:
        screen.line(f"{title}: {known:,} of {len(images):,} img from the feature store, without a pass")
    return features


def outputs_of(
    classifier: Classifier,
    images: Images,
    machine: Runtime,
    screen: Screen,
    title: str,
    batch_size: BatchSize = "auto",
) -> Outputs:
    """What a classifier says of images; where its body is frozen as a whole, features come from the store.

    Features of a frozen body are those of `stored_features`, whose BatchNorm is folded: they differ from a pass through
    the classifier by rounding.

    Raises:
        MachineError: If a feature or logit is not finite; names an image.
    """
    if not classifier.has_frozen_body:
        size = TRAINED_BATCH if batch_size == "auto" else batch_size
        return collect(classifier, images, machine, screen, title, size)
    features = stored_features(classifier, images, machine, screen, title, batch_size)
    return under_head(classifier.eval().head, features, images, machine.device)


@torch.inference_mode()
def under_head(head: Callable[[Tensor], Tensor], features: Features, images: Images, device: torch.device) -> Outputs:
    """The outputs of images whose features (N, D) are known, in fp32, under a head that lies on the device.

    Raises:
        MachineError: If a logit is not finite; names the first such image.
    """
    rows = (torch.from_numpy(chunk).to(device) for chunk in in_chunks(features))
    chunks = [head(chunk).cpu().numpy() for chunk in rows]
    width = len(images.class_names)
    logits = np.concatenate([np.zeros((0, width), np.float32), *chunks])
    require_finite_logits(logits, images.ids)
    return Outputs(np.asarray(features), logits, images.labels, images.ids, images.class_names)


def in_chunks(features: Features) -> Iterator[Features]:
    """Rows in order, a few thousand at a time."""
    return (features[start : start + HEAD_ROWS] for start in range(0, len(features), HEAD_ROWS))


Value = TypeVar("Value")


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


# -------------------------------------------------------------------------------------------------- the pass itself


def computed(pace: Pace, pictures: Pictures, batch_size: int, progress: Progress) -> Iterator[dict[str, Features]]:
    """Features by layer, batch by batch in order; the next batch is decoded while the network works on this one.

    Raises:
        MachineError: If a feature is not finite, or not even one image fits the memory.
    """
    positions, ids = np.arange(len(pictures)), pictures.ids
    chunks = [positions[start : start + batch_size] for start in range(0, len(pictures), batch_size)]
    for chunk, pixels in zip(chunks, ahead(pictures.take(chunk) for chunk in chunks), strict=True):
        batch = pace.timed(pixels)
        require_finite(batch, [ids[position] for position in chunk])
        progress.advance(len(chunk))
        yield batch


@dataclass
class Pace:
    """Runs a network batch by batch, and decides once, from its measured pace, whether compiling pays."""

    network: LayerNetwork
    batches: int
    compile: Compile = "auto"
    done: int = 0
    seconds: float = 0.0

    def timed(self, pixels: Pixels) -> dict[str, Features]:
        """The features of one batch."""
        if self.compile == "on" and self.done == 0 and not self.network.is_compiled:
            self.network.compile(self._on_device(pixels))
        if self.compile == "auto" and self.done == LOOK_AFTER and not self.network.is_compiled:
            seconds_left = self.seconds / (LOOK_AFTER - 1) * (self.batches - self.done)
            self.network.compile_if_it_pays(self._on_device(pixels), seconds_left)
        started = time.perf_counter()
        outputs = self._in_memory(pixels)
        if self.done:  # the first batch pays for what every process pays once
            self.seconds += time.perf_counter() - started
        self.done += 1
        return outputs

    def _in_memory(self, pixels: Pixels) -> dict[str, Features]:
        """As arrays; a batch that does not fit the GPU's memory goes in two halves, and that is said."""
        try:
            return {name: value.cpu().numpy() for name, value in self.network(self._on_device(pixels)).items()}
        except torch.OutOfMemoryError as error:
            if len(pixels) == 1:
                raise MachineError("The GPU's memory does not hold one image. Use a smaller size, or cpu.") from error
        half = len(pixels) // 2
        self.network.screen.line(f"out of GPU memory at {len(pixels)} images: in two halves from here on.")
        torch.cuda.empty_cache()
        parts = [self._in_memory(part) for part in (pixels[:half], pixels[half:])]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _on_device(self, pixels: Pixels) -> Tensor:
        return to_device(pixels, self.network.runtime.device)


def chosen_batch_size(asked: BatchSize, network: LayerNetwork) -> int:
    """The size asked for, or one that suits the device: the same number of pixels in every batch.

    Raises:
        TransferkitError: If it is neither auto nor a positive number.
    """
    if asked == "auto":
        device, side = network.runtime.device.type, network.preparation.input_spec.size
        pixels, most = BATCH_PIXELS.get(device, BATCH_PIXELS["cpu"]), LARGEST_BATCH.get(device, 256)
        return max(8, min(most, pixels // side**2))
    if not isinstance(asked, int) or asked < 1:
        raise TransferkitError(f"Unknown batch_size {asked!r}. Expected auto or a positive number.")
    return asked


def require_finite(batch: Mapping[str, Features], ids: Sequence[str]) -> None:
    """Refuse NaN and infinity.

    Raises:
        MachineError: Names the layer and the first such image.
    """
    for layer, features in batch.items():
        bad = np.flatnonzero(~np.isfinite(features.reshape(len(features), -1)).all(axis=1))
        if len(bad):
            raise MachineError(
                f"Layer {layer!r} gives features that are not finite for {len(bad)} of {len(ids)} images of a batch, "
                f"first {ids[bad[0]]}. The weights are damaged or overflow; try precision fp32."
            )


def gathered(batches: Iterable[Mapping[str, Features]], total: int) -> dict[str, Features]:
    """All batches as one array per layer, allocated once."""
    arrays: dict[str, Features] = {}
    done = 0
    for batch in batches:
        for name, features in batch.items():
            if name not in arrays:
                arrays[name] = np.empty((total, *features.shape[1:]), np.float32)
            arrays[name][done : done + len(features)] = features
        done += len(features)
    return arrays


Item = TypeVar("Item")


def ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The same items, each made by a thread while the one before is being used."""
    nothing: Any = object()
    with ThreadPoolExecutor(max_workers=1) as worker:
        pending = worker.submit(next, items, nothing)
        while (item := pending.result()) is not nothing:
            pending = worker.submit(next, items, nothing)
            yield item


# ------------------------------------------------------------------------------------------------ images of any kind


@dataclass(frozen=True)
class ImageFiles:
    """Files or PIL images, decoded to squares when they are taken.

    Attributes:
        sources: Paths or PIL images.
        ids: One per image.
        side_px: Of the squares.
        resize: squash or crop.
    """

    sources: Sequence[Any]
    ids: Sequence[str]
    side_px: int
    resize: str

    def __len__(self) -> int:
        return len(self.sources)

    @property
    def size_px(self) -> tuple[int, int]:
        """Height and width in px."""
        return self.side_px, self.side_px

    def take(self, indices: Labels) -> Pixels:
        """(B, 3, side_px, side_px) uint8, decoded by threads.

        Raises:
            TransferkitError: If one cannot be read; names it.
        """
        chosen = [self.sources[index] for index in indices]
        with ThreadPoolExecutor(runtime.usable_cores()) as threads:
            return np.stack(list(threads.map(lambda source: decode(source, self.side_px, self.resize), chosen)))

    @cached_property
    def digests(self) -> Pixels:
        """(N, 16), of the files as they lie on disk, so that stored features need no decoding; else of the pixels."""
        with ThreadPoolExecutor(runtime.usable_cores()) as threads:
            digests = b"".join(threads.map(self._digest, self.sources))
        return np.frombuffer(digests, np.uint8).reshape(len(self), 16)

    def _digest(self, source: Any) -> bytes:
        if not isinstance(source, (str, os.PathLike)):
            return image_digest(decode(source, self.side_px, self.resize))
        decoder = f"{self.resize}, pillow {runtime.package_version('pillow')}\n"
        try:
            return hashlib.blake2b(decoder.encode() + Path(source).read_bytes(), digest_size=16).digest()
        except OSError as error:
            raise TransferkitError(f"Cannot read {source}: {error.strerror}.") from error


@dataclass(frozen=True)
class Taken:
    """Some of other pictures."""

    pictures: Pictures
    indices: Labels

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def ids(self) -> Sequence[str]:
        """The path or index of each image."""
        return [self.pictures.ids[index] for index in self.indices]

    def take(self, indices: Labels) -> Pixels:
        """(B, 3, H, W) uint8."""
        return self.pictures.take(self.indices[indices])


def taken(pictures: Pictures, indices: Labels) -> Pictures:
    """Some of the pictures; the pictures themselves if it is all of them."""
    return pictures if len(indices) == len(pictures) else Taken(pictures, indices)


def as_pictures(images: Any, side_px: int, resize: str) -> StorablePictures:
    """Images of many kinds, those in files still undecoded.

    Raises:
        TransferkitError: If there are none, their sizes differ, or their kind is unknown.
    """
    found = found_pictures(images, side_px, resize)
    if not len(found):
        raise TransferkitError("No images. Expected a uint8 array, paths, PIL images, Images or a folder.")
    return found


def found_pictures(images: Any, side_px: int, resize: str) -> StorablePictures:
    """Images of many kinds, perhaps none."""
    if isinstance(images, Images):
        return images
    if isinstance(images, (str, os.PathLike)):
        return from_path(Path(images), side_px, resize)
    if isinstance(images, Tensor) or (isinstance(images, np.ndarray) and images.dtype.kind not in "OUS"):
        return from_array(np.asarray(images))
    if hasattr(images, "columns"):  # a table with one column of paths
        images = np.ravel(images)
    return from_items(list(images) if isinstance(images, Iterable) else [images], side_px, resize)


def from_path(path: Path, side_px: int, resize: str) -> ImageFiles:
    """One image file, or all images of a folder."""
    if path.is_dir():
        files = [str(file) for file in image_paths(path)]
        if not files:
            raise TransferkitError(f"{path} holds no images ({', '.join(sorted(EXTENSIONS)[:6])} ...).")
        return ImageFiles(files, files, side_px, resize)
    if not path.exists():
        raise TransferkitError(f"There is no file or folder {path}.")
    return ImageFiles([str(path)], [str(path)], side_px, resize)


def image_paths(folder: Path) -> Iterator[Path]:
    """The image files in a folder and the folders in it, in the order of their paths; hidden ones are left out."""
    children = sorted((entry for entry in os.scandir(folder) if not entry.name.startswith(".")), key=lambda e: e.name)
    for entry in children:
        if entry.is_dir():
            yield from image_paths(Path(entry.path))
        elif os.path.splitext(entry.name)[1].lower() in EXTENSIONS:
            yield Path(entry.path)


def from_items(items: Sequence[Any], side_px: int, resize: str) -> StorablePictures:
    """Pictures from a list of paths, PIL images or arrays."""
    from PIL import Image

    if items and all(isinstance(item, np.ndarray) for item in items):
        return from_array(stacked(items))
    strange = [item for item in items if not isinstance(item, (str, os.PathLike, Image.Image))]
    if strange:
        raise TransferkitError(
            f"Cannot read an image from a {type(strange[0]).__name__}. Expected paths, PIL images or uint8 arrays."
        )
    ids = [str(item) if isinstance(item, (str, os.PathLike)) else str(number) for number, item in enumerate(items)]
    return ImageFiles(items, ids, side_px, resize)


def stacked(arrays: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """One array from images of one size.

    Raises:
        TransferkitError: If their sizes differ.
    """
    shapes = sorted({array.shape for array in arrays})
    if len(shapes) > 1:
        raise TransferkitError(
            f"Arrays of mixed sizes: {', '.join(map(str, shapes[:4]))}. Give PIL images or paths, which are resized "
            "one by one, or arrays of one size."
        )
    return np.stack(arrays)


def from_array(array: npt.NDArray[Any]) -> Images:
    """Images from uint8 (N, H, W, 3) or (N, 3, H, W).

    Raises:
        TransferkitError: If type or shape is another.
    """
    if array.dtype != np.uint8 or array.ndim != 4 or 3 not in (array.shape[1], array.shape[3]):
        hint = " Multiply images in [0, 1] by 255 and round." if array.dtype.kind == "f" else ""
        raise TransferkitError(
            f"Expected uint8 images (N, H, W, 3) or (N, 3, H, W); found {array.dtype} {array.shape}.{hint}"
        )
    pixels = array if array.shape[1] == 3 else np.ascontiguousarray(array.transpose(0, 3, 1, 2))
    return Images.from_pixels(pixels, np.zeros(len(pixels), np.int64), ("-",))
