"""The bench's own networks: a body with pretrained weights below a new head, built without transferkit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torchvision
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn import functional as F

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and sd; torchvision docs, "Models"
HALF = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)  # as the Lite networks were trained (timm's card of tf_efficientnet_lite0)


@dataclass(frozen=True)
class Backbone:
    """A network that every arm starts from.

    Attributes:
        name: As transferkit calls it.
        file: Of its weights, in the bench's folder of weights.
        mean: Of the images that it was trained on, per channel in [0, 1].
        sd: Likewise.
        interpolation: How its images were resized.
        late: Prefixes of the modules in the later of the two groups that fastai's schedule tells apart.
        rates: Peak rates of the body among which the plain loop chooses.
        imagenet: Whether the weights were trained on ImageNet.
    """

    name: str
    file: str
    mean: tuple[float, float, float]
    sd: tuple[float, float, float]
    interpolation: str
    late: tuple[str, ...]
    rates: tuple[float, float, float] = (0.003, 0.01, 0.03)
    imagenet: bool = False


LITE_LATE = ("blocks.4", "blocks.5", "blocks.6", "conv_head", "bn2")
VGG11_LATE = ("features.11", "features.13", "features.16", "features.18")  # the last four of its eight convolutions
# Without BatchNorm the usual rates are lower: torchvision's references train AlexNet and VGG with 0.01, not 0.1.
SLOW = (0.001, 0.003, 0.01)
BACKBONES = {
    "resnet18": Backbone(
        "resnet18", "resnet18-tiny-imagenet.safetensors", *IMAGENET, "bilinear", ("layer3", "layer4")
    ),
    "lite0": Backbone(
        "timm/tf_efficientnet_lite0", "lite0-imagenet.safetensors", *HALF, "bicubic", LITE_LATE, imagenet=True
    ),
    "lite1": Backbone(
        "timm/tf_efficientnet_lite1", "lite1-imagenet.safetensors", *HALF, "bicubic", LITE_LATE, imagenet=True
    ),
    "alexnet": Backbone(
        "alexnet", "alexnet-tiny-imagenet.safetensors", *IMAGENET, "bilinear", ("features.6", "features.8",
        "features.10", "classifier"), SLOW
    ),
    "vgg11": Backbone("vgg11", "vgg11-tiny-imagenet.safetensors", *IMAGENET, "bilinear", VGG11_LATE, SLOW),
}  # fmt: skip


class Network(nn.Module):
    """uint8 images to logits: resized, normalised, through the body and a linear head."""

    def __init__(self, body: nn.Module, width: int, classes: int, backbone: Backbone, size_px: int) -> None:
        super().__init__()
        self.body, self.head = body, nn.Linear(width, classes)
        self.size_px, self.interpolation = size_px, backbone.interpolation
        self.register_buffer("mean", torch.tensor(backbone.mean).view(1, 3, 1, 1))
        self.register_buffer("sd", torch.tensor(backbone.sd).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """(N, C) logits of images (N, 3, H, W) uint8."""
        logits: Tensor = self.head(self.body(self.prepared(images.float() / 255)))
        return logits

    def prepared(self, images: Tensor) -> Tensor:
        """(N, 3, size, size) for the body, of images in [0, 1]."""
        if images.shape[-1] != self.size_px or images.shape[-2] != self.size_px:
            size = (self.size_px, self.size_px)
            images = F.interpolate(images, size, mode=self.interpolation, antialias=True).clamp(0, 1)
        normalised = (images - self.get_buffer("mean")) / self.get_buffer("sd")
        return normalised.contiguous(memory_format=torch.channels_last)


def bare_body(name: str) -> tuple[nn.Module, int]:
    """The network without its classification layer, with random weights, and the width of its features."""
    if name.startswith("timm/"):
        import timm

        model: Any = timm.create_model(name.removeprefix("timm/"), num_classes=0)
        return model, int(model.num_features)
    if name == "vgg11":  # for small images: no fc6 and fc7
        layers = torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs["A"], batch_norm=False)
        parts = {"features": layers, "avgpool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten()}
        return Named(parts), 512
    network: Any = torchvision.models.get_model(name, weights=None)
    if name == "alexnet":
        network.classifier = network.classifier[:-1]
        return network, 4096
    width = int(network.fc.in_features)
    network.fc = nn.Identity()
    return network, width


class Named(nn.Sequential):
    """Modules one after the other, with names."""

    def __init__(self, parts: dict[str, nn.Module]) -> None:
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)


def pretrained(backbone: Backbone, folder: Path, classes: int, size_px: int) -> Network:
    """The backbone with the weights of its file and a random head.

    Raises:
        RuntimeError: If a tensor of the body is missing in the file.
    """
    body, width = bare_body(backbone.name)
    fill(body, folder / backbone.file)
    return Network(body, width, classes, backbone, size_px).to(memory_format=torch.channels_last)


def fill(body: nn.Module, path: Path) -> None:
    """Put the tensors of a file into a body, in place; those of the old head are left out."""
    wanted = body.state_dict()
    with safe_open(path, framework="pt") as file:
        found = {name: file.get_tensor(name) for name in file.keys() if name in wanted}  # noqa: SIM118
    counters = {name: value for name, value in wanted.items() if name.endswith("num_batches_tracked")}
    body.load_state_dict({**counters, **found})


def layer_groups(network: Network, late: Sequence[str]) -> list[list[nn.Parameter]]:
    """Early and late parameters of the body, and those of the head."""
    groups: list[list[nn.Parameter]] = [[], []]
    for name, parameter in network.body.named_parameters():
        groups[any(name == prefix or name.startswith(f"{prefix}.") for prefix in late)].append(parameter)
    return [*groups, list(network.head.parameters())]
