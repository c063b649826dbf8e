"""AlexNet, VGG and ResNet from torchvision, with the weights IMAGENET1K_V1 or others of the same shape."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from torch import nn

from transferkit.models import weights
from transferkit.models.backbones.cards import CARDS
from transferkit.models.classifier import Classifier, measured_width
from transferkit.models.stored_model import RANDOM_WEIGHTS, WeightsRecord
from transferkit.models.undrawn import without_memory
from transferkit.models.weights import Weights
from transferkit.recipe import BackboneSettings
from transferkit.runtime.console import Console
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.torchvision_import import models

Stem = Literal["imagenet", "cifar"]
Stages = dict[str, tuple[str, ...]]

SMALL_PX = 64  # up to this side, `stem: auto` gives a network with random weights the stem for small images
IMAGENET_PX = 224  # what IMAGENET1K_V1 was trained with (torchvision docs, "Models")
REPLICATED_PX = 128  # below this side, fully connected layers see each cell of the last map several times
HEADS = {"resnet": "fc", "vgg": "classifier.6", "alexnet": "classifier.6"}


def load(settings: BackboneSettings, class_names: Sequence[str], size: int, console: Console) -> Classifier:
    """A torchvision network without its classification layer, below a new head.

    Raises:
        TransferkitError: If stem, weights, dropout or size do not go together.
    """
    name, kind = settings.name, architecture(settings.name)
    require_size(kind, name, size)
    pretrained_weights = find_weights(settings, console)
    stem = chosen_stem(settings, kind, size, pretrained_weights)
    warn_of_size(kind, name, stem, size, console)
    # Without memory where every weight is replaced: drawing VGG-16's random weights takes longer than reading a file.
    with contextlib.nullcontext() if pretrained_weights is None else without_memory():
        body, stages = build(name, kind, stem)
    if pretrained_weights is not None:
        head = "classifier" if (kind, stem) == ("vgg", "cifar") else HEADS[kind]
        weights.fill(body, pretrained_weights, name, head=(head,))
    set_dropout(body, settings.dropout, name)
    record = RANDOM_WEIGHTS if pretrained_weights is None else pretrained_weights.record
    spec = weights.input_spec(size, pretrained_weights)
    return Classifier(body, measured_width(body, size), class_names, stages, spec, record)


def made_for_px(_: BackboneSettings) -> int:
    """The side that the ImageNet weights were trained with."""
    return IMAGENET_PX


def fitting_px(settings: BackboneSettings, px: int) -> int:
    """The side nearest to `px` that the network can take."""
    return max(px, SMALLEST_PX.get(architecture(settings.name), 1))


def has_imagenet(settings: BackboneSettings) -> bool:
    """Whether the ImageNet weights are on this machine.

    Raises:
        TransferkitError: If an installed package should give them, and its file is missing or altered.
    """
    file = Path(weights.torchvision_url(settings.name)).name
    return weights.is_cached(file) or weights.is_packaged(settings.name, "imagenet")


def architecture(name: str) -> str:
    """resnet, vgg or alexnet."""
    return CARDS[name].family.removesuffix("-deep").removesuffix("_bn")


def find_weights(settings: BackboneSettings, console: Console) -> Weights | None:
    """The weights that the settings ask for; None for random ones."""
    if settings.weights != "imagenet":
        return weights.open_weights(settings.weights, settings.name, console)
    if settings.stem == "cifar":
        raise TransferkitError(
            f"{settings.name} with stem cifar has no ImageNet weights: they were trained with the ImageNet stem, and "
            "other layers would see other scales. Use --weights none, or stem imagenet with a larger --size."
        )
    return weights.from_torchvision(settings.name, console)


def chosen_stem(settings: BackboneSettings, kind: str, size: int, pretrained_weights: Weights | None) -> Stem:
    """The stem of the settings; `auto` takes that of the weights, and the small one for small images without weights.

    Raises:
        TransferkitError: If the network has no such stem, or the weights were trained with the other one.
    """
    if kind == "alexnet":
        if settings.stem == "cifar":
            raise TransferkitError("alexnet has no stem for small images. Use vgg11_bn or resnet18 with stem cifar.")
        return "imagenet"
    if pretrained_weights is None:
        if settings.stem == "auto":
            return "cifar" if size <= SMALL_PX else "imagenet"
        return settings.stem
    trained = stem_of(kind, pretrained_weights)
    if settings.stem not in ("auto", trained):
        raise TransferkitError(
            f"The weights {pretrained_weights.record.tag} were trained with stem {trained}, not {settings.stem}. "
            f"Set backbone.stem={trained}."
        )
    return trained


def stem_of_file(name: str, path: Path) -> Stem:
    """The stem of this network for which the weights in a file were trained.

    Raises:
        TransferkitError: If the file cannot be read safely.
    """
    return _stem_of_file(name, path, path.stat().st_mtime_ns)


@lru_cache(maxsize=64)
def _stem_of_file(name: str, path: Path, changed: int) -> Stem:  # noqa: ARG001
    tensors, _ = weights.read_file(path)
    return stem_of(architecture(name), Weights(tensors, WeightsRecord("file", path.name)))


def stem_of(kind: str, pretrained_weights: Weights) -> Stem:
    """The stem that the weights were trained with, read from their shapes."""
    if kind == "vgg":
        has_blocks = any(key.startswith("features.") for key in pretrained_weights.tensors)
        has_fc6 = any(key.startswith("classifier.0.") for key in pretrained_weights.tensors)
        return "cifar" if has_blocks and not has_fc6 else "imagenet"
    first = pretrained_weights.tensors.get("conv1.weight")
    return "cifar" if first is not None and first.shape[2:] == (3, 3) else "imagenet"


def build(name: str, kind: str, stem: Stem) -> tuple[nn.Module, Stages]:
    """The network without classification layer, and its stages."""
    if (kind, stem) == ("vgg", "cifar"):
        return vgg_for_small_images(name)
    network: Any = models.get_model(name, weights=None)
    if kind == "resnet":
        return resnet_body(network, stem), resnet_stages()
    network.classifier = network.classifier[:-1]
    if kind == "alexnet":
        return network, {**alexnet_stages(network.features), **fully_connected_stages(dropout_first=True)}
    return network, {**vgg_stages(network.features), **fully_connected_stages(dropout_first=False)}


def resnet_body(network: nn.Module, stem: Stem) -> nn.Module:
    """The ResNet up to its average pooling; for small images with a 3x3 stem that keeps the resolution.

    He et al. 2016, section 4.2, begin their networks for CIFAR-10 with such a stem.
    """
    network.fc = nn.Identity()
    if stem == "cifar":
        network.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=1, bias=False)
        nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")  # torchvision's resnet.py
        network.maxpool = nn.Identity()
    return network


def vgg_for_small_images(name: str) -> tuple[nn.Module, Stages]:
    """A VGG for small images: its convolutions and their global average, without fc6 and fc7; D = 512.

    fc6 and fc7 are never made: drawing their 120 million random weights takes seconds.
    """
    configuration = models.vgg.cfgs[{"11": "A", "13": "B", "16": "D", "19": "E"}[name[3:5]]]
    features = models.vgg.make_layers(configuration, batch_norm=name.endswith("_bn"))
    for layer in features:
        if isinstance(layer, nn.Conv2d) and layer.bias is not None:
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")  # torchvision's vgg.py
            nn.init.zeros_(layer.bias)
    body = nn.Sequential()
    body.add_module("features", features)
    body.add_module("avgpool", nn.AdaptiveAvgPool2d(1))
    body.add_module("flatten", nn.Flatten())
    stages = vgg_stages(features)
    return body, {**stages, "block5": (*stages["block5"], "avgpool", "flatten")}


def resnet_stages() -> Stages:
    """Stem and four layers."""
    layers: Stages = {f"layer{number}": (f"layer{number}",) for number in range(1, 5)}
    return {"stem": ("conv1", "bn1", "relu", "maxpool"), **layers, "layer4": ("layer4", "avgpool", "fc")}


def alexnet_stages(features: nn.Sequential) -> Stages:
    """Five convolutions, each with the ReLU and the pooling behind it."""
    starts = [position for position, layer in enumerate(features) if isinstance(layer, nn.Conv2d)]
    return consecutive_stages("conv", [*starts, len(features)])


def vgg_stages(features: nn.Sequential) -> Stages:
    """Five blocks, each with the pooling that ends it."""
    ends = [position + 1 for position, layer in enumerate(features) if isinstance(layer, nn.MaxPool2d)]
    return consecutive_stages("block", [0, *ends])


def consecutive_stages(word: str, bounds: Sequence[int]) -> Stages:
    """One stage per pair of neighbouring bounds, over the modules of `features`."""
    return {
        f"{word}{number}": tuple(f"features.{position}" for position in range(start, stop))
        for number, (start, stop) in enumerate(pairwise(bounds), start=1)
    }


def fully_connected_stages(*, dropout_first: bool) -> Stages:
    """fc6 and fc7, each with the dropout before it; VGG's last dropout, before the head, counts to fc7.

    torchvision's AlexNet is dropout, fc6, ReLU, dropout, fc7, ReLU; its VGG fc6, ReLU, dropout, fc7, ReLU, dropout.
    """
    split = 3 if dropout_first else 2
    positions = [f"classifier.{position}" for position in range(6)]
    return {"fc6": ("avgpool", *positions[:split]), "fc7": tuple(positions[split:])}


def set_dropout(body: nn.Module, rate: float | None, name: str) -> None:
    """Give the network's dropout layers this rate; None keeps their own.

    Raises:
        TransferkitError: If there are none to give it to.
    """
    layers = [module for module in body.modules() if isinstance(module, nn.Dropout)]
    if rate and not layers:
        raise TransferkitError(f"{name} has no dropout layers. Leave backbone.dropout out.")
    for layer in layers:
        layer.p = layer.p if rate is None else rate


# Kernel, stride and padding of what changes the resolution, in order; torchvision's alexnet.py and vgg.py.
RESOLUTION: Mapping[str, tuple[tuple[str, int, int, int], ...]] = {
    "alexnet": (("conv1", 11, 4, 2), ("pool1", 3, 2, 0), ("pool2", 3, 2, 0), ("pool5", 3, 2, 0)),
    "vgg": tuple((f"pool{number}", 2, 2, 0) for number in range(1, 6)),
}
SMALLEST_PX = {"alexnet": 63, "vgg": 32}
CELLS = {"alexnet": 6, "vgg": 7}  # side of the map that fc6 takes


def require_size(kind: str, name: str, size: int) -> None:
    """Refuse images that shrink to nothing.

    Raises:
        TransferkitError: Shows the arithmetic and a size that works.
    """
    if size >= SMALLEST_PX.get(kind, 1):
        return
    maps = map_sides(kind, size)
    layers = ", ".join(f"{layer} {kernel}/{stride}" for layer, kernel, stride, _ in RESOLUTION[kind])
    raise TransferkitError(
        f"{name} cannot take images of {size} px: its maps shrink {' -> '.join(map(str, [size, *maps]))} px "
        f"({layers}; kernel/stride). Use --size {SMALLEST_PX[kind]} or more; {REPLICATED_PX} suits it better."
    )


def map_sides(kind: str, size: int) -> list[int]:
    """Sides of the maps after each layer that changes the resolution, ended by the first that is empty."""
    sides: list[int] = []
    for _, kernel, stride, padding in RESOLUTION[kind]:
        size = max(0, (size + 2 * padding - kernel) // stride + 1)
        sides.append(size)
        if size == 0:
            break
    return sides


def warn_of_size(kind: str, name: str, stem: Stem, size: int, console: Console) -> None:
    """Say aloud where images are so small that the network sees them poorly."""
    if stem == "cifar":
        return
    if kind == "resnet":
        if size <= 32:
            console.line(f"{name} at {size} px ends in a map of 1 x 1 px; a larger --size keeps more of the image.")
        return
    last = map_sides(kind, size)[-1]
    if size < REPLICATED_PX:
        console.line(
            f"{name} at {size} px: fc layers see replicated cells (a map of {last} x {last} px is repeated to "
            f"{CELLS[kind]} x {CELLS[kind]}). --size {REPLICATED_PX} or more suits it better."
        )
