"""What is known of each backbone before anything is imported: family, size, accuracy, source."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BackboneCard:
    """One line of `transferkit backbones`.

    Attributes:
        name: What `backbone.name` takes.
        family: Backbones that share hyper-parameters.
        parameters: Of the published network, classification layer included; None where only building it would tell.
        top1: ImageNet top-1 accuracy in [0, 1] of the pinned weights, one 224 px centre crop; None without a source.
        source: torchvision, timm, small, own or pixels.
    """

    name: str
    family: str
    parameters: int | None
    top1: float | None
    source: str

    @property
    def has_small_stem(self) -> bool:
        """Whether it comes with a stem for small images: torchvision's ResNets and VGGs."""
        return self.source == "torchvision" and self.family != "alexnet"


# Parameters and top-1: torchvision 0.29.2, `meta` of each IMAGENET1K_V1; a test compares them with the installed one.
TORCHVISION = (
    BackboneCard("alexnet", "alexnet", 61_100_840, 0.56522, "torchvision"),
    BackboneCard("resnet18", "resnet", 11_689_512, 0.69758, "torchvision"),
    BackboneCard("resnet34", "resnet", 21_797_672, 0.73314, "torchvision"),
    BackboneCard("resnet50", "resnet", 25_557_032, 0.76130, "torchvision"),
    BackboneCard("resnet101", "resnet-deep", 44_549_160, 0.77374, "torchvision"),
    BackboneCard("resnet152", "resnet-deep", 60_192_808, 0.78312, "torchvision"),
    BackboneCard("vgg11", "vgg", 132_863_336, 0.69020, "torchvision"),
    BackboneCard("vgg13", "vgg", 133_047_848, 0.69928, "torchvision"),
    BackboneCard("vgg16", "vgg", 138_357_544, 0.71592, "torchvision"),
    BackboneCard("vgg19", "vgg", 143_667_240, 0.72376, "torchvision"),
    BackboneCard("vgg11_bn", "vgg_bn", 132_868_840, 0.70370, "torchvision"),
    BackboneCard("vgg13_bn", "vgg_bn", 133_053_736, 0.71586, "torchvision"),
    BackboneCard("vgg16_bn", "vgg_bn", 138_365_992, 0.73360, "torchvision"),
    BackboneCard("vgg19_bn", "vgg_bn", 143_678_248, 0.74218, "torchvision"),
)

# Parameters with a head of ten classes, at 32 px (He et al. 2016, table 6, count theirs so); a test compares them with
# the networks.
SMALL = (
    BackboneCard("lenet", "classical", 62_006, None, "small"),
    BackboneCard("simple-cnn", "classical", 357_034, None, "small"),
    BackboneCard("plain20", "small", 269_722, None, "small"),
    BackboneCard("plain56", "small", 853_018, None, "small"),
    BackboneCard("resnet-mini", "small", 298_026, None, "small"),
    BackboneCard("resnet20", "small", 269_722, None, "small"),
    BackboneCard("resnet56", "small", 853_018, None, "small"),
    BackboneCard("resnet18-cifar", "resnet", 11_173_962, None, "small"),
    BackboneCard("vgg11-cifar", "vgg_bn", 9_231_114, None, "small"),
    BackboneCard("speednet", "speed", 1_971_650, None, "small"),
)

PIXELS = BackboneCard("pixels", "small", 0, None, "pixels")  # no network: the baseline

CARDS = {card.name: card for card in (*TORCHVISION, *SMALL, PIXELS)}
