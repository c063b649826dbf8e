"""The menu of backbones: each source is a module with `load(settings, class_names, size, console) -> Classifier`.

It also says the side that its weights were made for, `made_for_px(settings)`, and the side nearest to a wanted one that
the network can take, `fitting_px(settings, px)`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transferkit.models import backbones
from transferkit.models.backbones.cards import CARDS, BackboneCard
from transferkit.models.stored_model import MODEL
from transferkit.recipe import BACKBONE_MODELS, BackboneSettings, backbone_settings
from transferkit.runtime.errors import TransferkitError, did_you_mean
from transferkit.runtime.json_files import read_object

if TYPE_CHECKING:
    from transferkit.models.classifier import Classifier
    from transferkit.runtime.console import Console

# Module names, not modules: a family or a list of names is known without importing torch.
SOURCES = {
    "torchvision": "transferkit.models.backbones.torchvision_models",
    "timm": "transferkit.models.backbones.timm_models",
    "small": "transferkit.models.backbones.small_cnns",
    "pixels": "transferkit.models.backbones.pixels",
}
DOWNLOADING = ("torchvision", "timm")  # sources whose ImageNet weights may have to be downloaded
TIMM = "timm/"
TIMM_RESNET = re.compile(
    r"(?:legacy_|wide_|se|eca|sk)*resne[sx]?t(?:aa|blur|rs|v2_)?(?P<depth>\d+)(?!.*_clip)"
)  # CLIP's: attention
DEEPEST_RESNET = 50  # whose rates are not those of the deep ones, training.methods.scratch_rates.FAMILIES


def load(settings: BackboneSettings, class_names: Sequence[str], size: int, console: Console) -> Classifier:
    """A classifier for these classes: the backbone without its old classification layer, below a new random head.

    Args:
        settings: Which network, and where its weights come from.
        class_names: One per output of the new head; a head found in a file or run is dropped, same names or not.
        size: Side in px that images are resized to.
        console: Hears about downloads and about sizes that do not suit the network.

    Raises:
        TransferkitError: If backbone, weights or size do not exist or do not go together.
        MachineError: If weights would have to be downloaded and cannot be.
    """
    module = import_module(SOURCES[source(settings.name)])
    loader: Callable[..., Classifier] = module.load
    classifier = loader(with_shape(settings), class_names, size, console)
    classifier.backbone = settings.name
    return classifier


def made_for_px(settings: BackboneSettings) -> int:
    """The side in px that the weights were trained with: as their file, run or package says, else as their source.

    Raises:
        TransferkitError: If there is no such backbone.
    """
    from transferkit.models import weights

    named = settings.weights in ("imagenet", "none")
    stated = None if named else weights.stated_px(Path(settings.weights).expanduser())
    stated = stated or weights.packaged_px(settings.name, settings.weights)
    return stated or int(import_module(SOURCES[source(settings.name)]).made_for_px(settings))


def fitting_px(settings: BackboneSettings, px: int) -> int:
    """`px`, or the side that the network can take in its place: large enough for its layers, whole patches.

    Raises:
        TransferkitError: If there is no such backbone.
    """
    return int(import_module(SOURCES[source(settings.name)]).fitting_px(settings, px))


def with_shape(settings: BackboneSettings) -> BackboneSettings:
    """The settings with the keys that describe the network's shape; those not given are as in the run it continues."""
    if settings.name not in BACKBONE_MODELS:
        return settings
    shape_keys = BACKBONE_MODELS[settings.name].model_fields.keys() - BackboneSettings.model_fields.keys()
    trained = _backbone_of_run(Path(settings.weights))
    known = {key: value for key, value in trained.items() if key in shape_keys}
    return backbone_settings({**known, **settings.model_dump(exclude_unset=True)})


def _backbone_of_run(folder: Path) -> dict[str, Any]:
    """What a run says of its backbone; empty where there is no run, or one that cannot be read, as `load` will say."""
    try:
        return dict(read_object(folder / "model.json", MODEL)["backbone"])
    except TransferkitError:
        return {}


def require(settings: BackboneSettings) -> None:
    """Check what can be known before any work: that there are such a backbone and such weights.

    Raises:
        TransferkitError: If not; names the nearest backbone.
    """
    if source(settings.name) == "timm":
        from transferkit.models.backbones.timm_models import require_model

        require_model(settings.name.removeprefix(TIMM))
    from transferkit.models import weights

    if settings.weights == "imagenet":
        lacks_weights(settings)
    else:
        weights.require(settings.weights, settings.name)


def lacks_weights(settings: BackboneSettings) -> bool:
    """Whether `load` will have to download the weights; what is in their file is not looked at, but in a package.

    Raises:
        TransferkitError: If an installed package should give them, and its file is missing or altered.
    """
    if settings.weights != "imagenet" or source(settings.name) not in DOWNLOADING:
        return False
    return not import_module(SOURCES[source(settings.name)]).has_imagenet(settings)


def source(name: str) -> str:
    """The source of a backbone: torchvision, timm, small or pixels.

    Raises:
        TransferkitError: If there is no such backbone; names the nearest one.
    """
    if name.startswith(TIMM):
        return "timm"
    if name not in CARDS:
        known = did_you_mean(name, CARDS, limit=len(CARDS))
        raise TransferkitError(f"Unknown backbone {name!r}. {known} For timm models write timm/<name>.")
    return CARDS[name].source


def family(name: str) -> str:
    """The backbones that share hyper-parameters with this one: resnet, vgg, small, timm ... (see `cards.py`).

    The networks of timm that are built like a ResNet or a VGG belong to these; `timm` is all others.

    Example:
        >>> family("resnet101"), family("vgg16_bn"), family("timm/vit_tiny_patch16_224")
        ('resnet-deep', 'vgg_bn', 'timm')
        >>> family("timm/resnet50d.ra2_in1k"), family("timm/wide_resnet101_2"), family("timm/vgg16.tv_in1k")
        ('resnet', 'resnet-deep', 'vgg')

    Raises:
        TransferkitError: If there is no such backbone.
    """
    if source(name) != "timm":
        return CARDS[name].family
    architecture = name.removeprefix(TIMM).partition(".")[0]
    if re.match(r"vgg\d", architecture):
        return "vgg_bn" if architecture.endswith("_bn") else "vgg"
    resnet = TIMM_RESNET.match(architecture)
    return "timm" if resnet is None else "resnet-deep" if int(resnet["depth"]) > DEEPEST_RESNET else "resnet"


def names(pattern: str = "") -> list[BackboneCard]:
    """The backbones whose name holds `pattern`, or matches it where it has a `*`; timm's only after `timm`.

    Example:
        >>> [card.name for card in names("resnet1*")]
        ['resnet101', 'resnet152', 'resnet18', 'resnet18-cifar']
    """
    if pattern.startswith("timm"):
        from transferkit.models.backbones.timm_models import names as timm_names

        return timm_names(as_wildcard(pattern.removeprefix("timm").removeprefix("/")))
    wildcard = as_wildcard(pattern.lower())
    return [CARDS[name] for name in sorted(CARDS) if fnmatchcase(name, wildcard)]


def as_wildcard(pattern: str) -> str:
    """A pattern with wildcards as it is, a plain word as anything that holds it."""
    return pattern if any(sign in pattern for sign in "*?[") else f"*{pattern}*"


def require_known(backbone: BackboneSettings) -> None:
    """Refuse what cannot work, before any work.

    Raises:
        TransferkitError: If there is no such backbone, it has no such weights, or their file is not there.
    """
    backbones.require(backbone)
    if backbone.name in CARDS and backbone.weights == "imagenet" and CARDS[backbone.name].top1 is None:
        raise TransferkitError(
            f"{backbone.name} has no ImageNet weights. Write {backbone.name}=none for random ones, or "
            f"{backbone.name}=FILE."
        )
