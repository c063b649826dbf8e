"""The menu of networks for small images; they know no ImageNet weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn

from transferkit.models import weights
from transferkit.models.backbones import cifar_resnets, classical_cnns, speednet
from transferkit.models.backbones.cifar_resnets import PlainBlock, ResidualBlock, SmallNetwork
from transferkit.models.backbones.shapes import Window, sides
from transferkit.models.classifier import Classifier, measured_width
from transferkit.models.stored_model import RANDOM_WEIGHTS
from transferkit.recipe import BackboneSettings, SimpleCnnSettings
from transferkit.runtime.console import Console
from transferkit.runtime.errors import TransferkitError

Stages = dict[str, tuple[str, ...]]
Built = tuple[nn.Module, Stages]

CIFAR_PX = 32  # what these networks were made for
MIN_PX = 8  # two strides of 2 leave a 2 x 2 map


def load(settings: BackboneSettings, class_names: Sequence[str], size: int, console: Console) -> Classifier:
    """A small network with random weights, or those of a file or run, below a new head.

    Raises:
        TransferkitError: If ImageNet weights, or dropout where there is none, are asked for, or no window fits.
    """
    if settings.weights == "imagenet":
        raise TransferkitError(
            f"{settings.name} has no ImageNet weights. Train it from scratch (--weights none), or give a file or a run."
        )
    if settings.dropout and settings.name != "simple-cnn":
        raise TransferkitError(f"{settings.name} has no dropout layers. Leave backbone.dropout out, or use simple-cnn.")
    pretrained_weights = weights.open_weights(settings.weights, settings.name, console)
    body, stages = NETWORKS[settings.name](settings, size)
    if pretrained_weights is not None:
        weights.fill(body, pretrained_weights, settings.name, head=())
    spec = weights.input_spec(size, pretrained_weights)
    record = RANDOM_WEIGHTS if pretrained_weights is None else pretrained_weights.record
    return Classifier(body, measured_width(body, size), class_names, stages, spec, record)


def made_for_px(_: BackboneSettings) -> int:
    """The side that these networks were made for."""
    return CIFAR_PX


def fitting_px(_: BackboneSettings, px: int) -> int:
    """Any side; one that is too small for a window is refused when the network is built."""
    return px


def lenet(_: BackboneSettings, size: int) -> Built:
    """LeCun et al. 1998."""
    return classical_cnns.LeNet(size), classical_cnns.LENET_STAGES


def simple_cnn(settings: BackboneSettings, size: int) -> Built:
    """A classical CNN whose every part is a key of the recipe."""
    shape = SimpleCnnSettings.model_validate(settings.model_dump())
    return classical_cnns.SimpleCnn(shape, size), classical_cnns.simple_cnn_stages(shape)


def cifar_resnet(
    block: type[PlainBlock | ResidualBlock], widths: Sequence[int], blocks_per_stage: int
) -> Callable[[BackboneSettings, int], Built]:
    """A builder of one of He et al.'s networks for CIFAR."""

    def build(settings: BackboneSettings, size: int) -> Built:
        require_px(settings.name, size, MIN_PX)
        return SmallNetwork(block, widths, blocks_per_stage), cifar_resnets.STAGES

    return build


def torchvision_network(name: str, kind: str) -> Callable[[BackboneSettings, int], Built]:
    """A builder of a torchvision network with the stem for small images."""

    def build(settings: BackboneSettings, size: int) -> Built:
        from transferkit.models.backbones import torchvision_models

        torchvision_models.require_size(kind, settings.name, size)
        require_px(settings.name, size, MIN_PX)
        return torchvision_models.build(name, kind, "cifar")

    return build


def speed_network(settings: BackboneSettings, size: int) -> Built:
    """Jordan 2024."""
    pools = [Window(f"the pooling of group{number}", 2, 2) for number in (1, 2, 3)]
    sides(settings.name, [Window("whitening", speednet.PATCH_PX), *pools], size, "Use --size 9 or more.")
    return speednet.Speednet(), speednet.STAGES


def require_px(name: str, size: int, least: int) -> None:
    """Refuse images that are too small for a network."""
    if size < least:
        raise TransferkitError(f"{name} cannot take images of {size} px. Use --size {least} or more.")


NETWORKS: dict[str, Callable[[BackboneSettings, int], Built]] = {
    "lenet": lenet,
    "simple-cnn": simple_cnn,
    "plain20": cifar_resnet(PlainBlock, (16, 32, 64), 3),
    "plain56": cifar_resnet(PlainBlock, (16, 32, 64), 9),
    "resnet20": cifar_resnet(ResidualBlock, (16, 32, 64), 3),
    "resnet56": cifar_resnet(ResidualBlock, (16, 32, 64), 9),
    "resnet-mini": cifar_resnet(ResidualBlock, (32, 64, 128), 1),
    "resnet18-cifar": torchvision_network("resnet18", "resnet"),
    "vgg11-cifar": torchvision_network("vgg11_bn", "vgg"),
    "speednet": speed_network,
}
