"""The menu of backbones: each source is a module with `load(settings, class_names, size, console) -> Classifier`.

It also says the side that its weights were made for, `made_for_px(settings)`, and the side nearest to a wanted one that
the network can take, `fitting_px(settings, px)`. What is known of a backbone is looked up once: `lookup(settings)`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from transferkit.models.backbones.backbone import SOURCES, TIMM, Backbone, BackboneSource, card, lookup
from transferkit.models.backbones.cards import CARDS, BackboneCard
from transferkit.models.stored_model import read_model
from transferkit.recipe import BACKBONE_MODELS, BackboneSettings, backbone_settings
from transferkit.runtime.console import SILENT, Console
from transferkit.runtime.errors import TransferkitError

if TYPE_CHECKING:
    from transferkit.data.images import Images
    from transferkit.models.classifier import Classifier

__all__ = [
    "SOURCES",
    "TIMM",
    "Backbone",
    "BackboneSource",
    "card",
    "load",
    "load_for",
    "load_undrawn",
    "lookup",
    "names",
    "require",
    "require_known",
    "with_shape",
]


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
    loader: Callable[..., Classifier] = lookup(settings).module.load
    classifier = loader(with_shape(settings), class_names, size, console)
    classifier.backbone = settings.name
    return classifier


def load_undrawn(settings: BackboneSettings, class_names: Sequence[str], size: int) -> Classifier:
    """The network without its weights, for who wants to know its shape, whether it runs, or how fast.

    Its weights are a few random numbers repeated, since drawing all of them takes most of the time: seconds for VGG-16.

    Raises:
        TransferkitError: If backbone or size do not exist or do not go together.
    """
    from transferkit.models.undrawn import Undrawn

    with Undrawn():
        return load(settings.model_copy(update={"weights": "none"}), class_names, size, SILENT)


def load_for(settings: BackboneSettings, images: Images, size: int, console: Console) -> Classifier:
    """A classifier for the classes of these images; where they have other bands than three, its stem adapted to these.

    Args:
        settings: Which network, and where its weights come from.
        images: Whose bands are normalised by their own mean and deviation.
        size: Side in px that images are resized to.
        console: Hears about downloads, about sizes that do not suit the network, and about bands.

    Raises:
        TransferkitError: As `load` does; if the network has no stem that could be adapted.
        MachineError: If weights would have to be downloaded and cannot be.
    """
    classifier = load(settings, images.class_names, size, console)
    taken = len(classifier.input_spec.mean)
    if (images.bands, taken) == (3, 1):
        console.line(f"{settings.name} takes grey images: colours become grey, as 0.299 R + 0.587 G + 0.114 B")
    elif images.bands != taken:
        classifier.adapt_to_bands(*images.band_statistics())
        console.line(
            f"stem adapted from three bands to {images.bands}; each band is normalised by its mean and deviation in "
            "train"
        )
    return classifier


def with_shape(settings: BackboneSettings) -> BackboneSettings:
    """The settings with the keys that describe the network's shape; those not given are as in the run it continues."""
    if settings.name not in BACKBONE_MODELS:
        return settings
    shape_keys = BACKBONE_MODELS[settings.name].model_fields.keys() - BackboneSettings.model_fields.keys()
    trained = _backbone_of_run(Path(settings.weights)) if settings.weights_are_on_disk else None
    known = trained.model_dump(include=shape_keys) if trained else {}
    return backbone_settings({**known, **settings.model_dump(exclude_unset=True)})


def _backbone_of_run(folder: Path) -> BackboneSettings | None:
    """What a run says of its backbone; None where there is no run, or one that cannot be read, as `load` will say."""
    try:
        return read_model(folder).backbone
    except TransferkitError:
        return None


def require(settings: BackboneSettings, console: Console | None = None) -> None:
    """Check what can be known before any work: that there are such a backbone and such weights.

    Args:
        settings: Name and weights.
        console: Hears of a download from a hub.

    Raises:
        TransferkitError: If not; names the nearest backbone.
        MachineError: If weights on a hub are not here and cannot be downloaded.
    """
    lookup(settings).require(console)


def require_known(settings: BackboneSettings) -> None:
    """Refuse what cannot work, before any work.

    Raises:
        TransferkitError: If there is no such backbone, it has no such weights, or their file is not there.
    """
    backbone = lookup(settings)
    backbone.require()
    backbone.require_weights_named()


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
