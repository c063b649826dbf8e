"""A backbone looked up once: what is known of it by its name, and the module that its network comes from."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from transferkit.models.backbones.cards import CARDS, BackboneCard
from transferkit.recipe import BackboneSettings
from transferkit.runtime.console import Console
from transferkit.runtime.errors import TransferkitError, did_you_mean

TIMM = "timm/"
OWN = "own/"
TIMM_RESNET = re.compile(
    r"(?:legacy_|wide_|se|eca|sk)*resne[sx]?t(?:aa|blur|rs|v2_)?(?P<depth>\d+)(?!.*_clip)"
)  # CLIP's: attention
DEEPEST_RESNET = 50  # whose rates are not those of the deep ones, training.methods.scratch_rates.FAMILIES


@dataclass(frozen=True)
class BackboneSource:
    """Where networks come from.

    Attributes:
        module: Dotted name of the module with `load`, `made_for_px` and `fitting_px`; a name, so that a family is known
            without importing torch.
        downloads: Whether ImageNet weights may have to be downloaded; the module has `has_imagenet` then.
        is_open: Whether it has more networks than there are cards; the module has `require` then.
        takes_any_size: Whether its networks are built for the images' own size.
    """

    module: str
    downloads: bool = False
    is_open: bool = False
    takes_any_size: bool = False


SOURCES = {
    "torchvision": BackboneSource("transferkit.models.backbones.torchvision_models", downloads=True),
    "timm": BackboneSource("transferkit.models.backbones.timm_models", downloads=True, is_open=True),
    "small": BackboneSource("transferkit.models.backbones.small_cnns", takes_any_size=True),
    "own": BackboneSource("transferkit.models.backbones.own_modules", is_open=True, takes_any_size=True),
    "pixels": BackboneSource("transferkit.models.backbones.pixels"),
}


@dataclass(frozen=True)
class Backbone:
    """What a recipe asks for, with what is known of it: whoever has this asks nobody by name again."""

    settings: BackboneSettings
    card: BackboneCard
    source: BackboneSource

    @property
    def module(self) -> Any:
        """Builds its network; loads torch."""
        return import_module(self.source.module)

    def made_for_px(self) -> int:
        """The side in px that the weights were trained with: as their file, run or package says, else their source."""
        from transferkit.models import weights

        settings = self.settings
        stated = weights.stated_px(weights.location(settings.weights)) if settings.weights_are_on_disk else None
        stated = stated or weights.packaged_px(settings.name, settings.weights)
        return stated or int(self.module.made_for_px(settings))

    def fitting_px(self, px: int) -> int:
        """`px`, or the side that the network can take in its place: large enough for its layers, whole patches."""
        return int(self.module.fitting_px(self.settings, px))

    def lacks_weights(self) -> bool:
        """Whether the weights will have to be downloaded; what is in their file is not looked at, but in a package.

        Raises:
            TransferkitError: If an installed package should give them, and its file is missing or altered.
        """
        if self.settings.weights != "imagenet" or not self.source.downloads:
            return False
        return not self.module.has_imagenet(self.settings)

    def require(self, console: Console | None = None) -> None:
        """Check what can be known before any work: that there are such a network and such weights.

        Args:
            console: Hears of a download from a hub.

        Raises:
            TransferkitError: If not; names the nearest.
            MachineError: If weights on a hub are not here and cannot be downloaded.
        """
        from transferkit.models import weights

        if self.source.is_open:
            self.module.require(self.settings)
        if self.settings.weights == "imagenet":
            self.lacks_weights()
        elif self.settings.weights_are_on_disk:
            weights.require_weights_source(self.settings.weights, self.settings.name, console)

    def require_weights_named(self) -> None:
        """Refuse ImageNet weights of a network that has none.

        Raises:
            TransferkitError: Says what to write instead.
        """
        if self.settings.weights == "imagenet" and not self.source.is_open and self.card.top1 is None:
            name = self.card.name
            raise TransferkitError(
                f"{name} has no ImageNet weights. Write {name}=none for random ones, or {name}=FILE."
            )


def lookup(settings: BackboneSettings) -> Backbone:
    """A backbone by the name in its settings.

    Raises:
        TransferkitError: If there is none; names the nearest one.
    """
    known = card(settings.name)
    return Backbone(settings, known, SOURCES[known.source])


def card(name: str) -> BackboneCard:
    """What is known of a backbone by its name alone, without importing torch.

    The networks of timm that are built like a ResNet or a VGG belong to their families; `timm` is all others.

    Example:
        >>> [card(name).family for name in ("resnet101", "vgg16_bn", "timm/vit_tiny_patch16_224")]
        ['resnet-deep', 'vgg_bn', 'timm']
        >>> [card(f"timm/{name}").family for name in ("resnet50d.ra2_in1k", "wide_resnet101_2", "vgg16.tv_in1k")]
        ['resnet', 'resnet-deep', 'vgg']

    Raises:
        TransferkitError: If there is no such backbone; names the nearest one.
    """
    if name.startswith(TIMM):
        return BackboneCard(name, _timm_family(name.removeprefix(TIMM).partition(".")[0]), None, None, "timm")
    if name.startswith(OWN):
        return BackboneCard(name, "own", None, None, "own")
    if name not in CARDS:
        if timm_has(name.partition(".")[0]):
            raise TransferkitError(f"Unknown backbone {name!r}. Did you mean '{TIMM}{name}'? timm has it.")
        known = did_you_mean(name, CARDS, limit=len(CARDS))
        raise TransferkitError(f"Unknown backbone {name!r}. {known} For timm models write timm/<name>.")
    return CARDS[name]


def timm_has(architecture: str) -> bool:
    """Whether timm builds a network of this name; its files are searched, since importing it takes seconds.

    Example:
        >>> timm_has("efficientnet_b0"), timm_has("efficientnet"), timm_has("resnet8")
        (True, False, False)
    """
    installed = find_spec("timm")
    if installed is None or installed.origin is None or not architecture.isidentifier():
        return False
    builder = f"\n@register_model\ndef {architecture}("
    files = (Path(installed.origin).parent / "models").glob("*.py")
    return any(builder in file.read_text(encoding="utf-8") for file in files)


def _timm_family(architecture: str) -> str:
    if re.match(r"vgg\d", architecture):
        return "vgg_bn" if architecture.endswith("_bn") else "vgg"
    resnet = TIMM_RESNET.match(architecture)
    return "timm" if resnet is None else "resnet-deep" if int(resnet["depth"]) > DEEPEST_RESNET else "resnet"
