"""Which side the network's input has and why, and which stem suits images of this side; the device has no say."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from transferkit.models import weights
from transferkit.models.backbones import Backbone, lookup, with_shape
from transferkit.models.backbones.cards import PIXELS
from transferkit.models.receptive_fields import total_flops
from transferkit.models.stored_model import FILE as MODEL
from transferkit.models.stored_model import StoredModel, read_model
from transferkit.recipe import BackboneSettings, MethodSettings
from transferkit.recipe.budget import operations_in_words

SMALL_PX = 64  # up to this side, images are small
ENLARGED_PX = 128  # what small images are enlarged to for weights that were made for larger ones
SMALL_STEM_PX = 32  # up to this side, a size that was asked for gets the stem for small images (He et al. 2016, 4.2)
PIXELS_PX = 16  # largest side of images whose raw pixels are the features: 768 numbers


@dataclass(frozen=True)
class InputSize:
    """Side of the network's input in px, and why it is this one."""

    px: int
    reason: str


def input_size(method: MethodSettings, backbone: BackboneSettings, native_px: int) -> InputSize:
    """The side of the network's input: as asked, else by the weights and the images.

    Small images are enlarged to 128 px, but never above what the weights were made for; larger ones get the size that
    the weights were made for. Networks without pretrained weights see images at their own size where they can.

    Args:
        method: Its `size` is `auto` or what was asked for.
        backbone: With its weights and stem resolved, see `resolved_backbone`.
        native_px: Side of the images.

    Raises:
        TransferkitError: If there is no such backbone.
    """
    if method.asked_px is not None:
        return InputSize(method.asked_px, "as asked")
    if backbone.name == PIXELS.name:
        return InputSize(
            min(PIXELS_PX, native_px), f"the images' pixels are the features, at most {PIXELS_PX} x {PIXELS_PX}"
        )
    if facts := run_facts(backbone):
        return InputSize(facts.input.size, "the size of the run that the weights are from")
    known = lookup(backbone)
    if known.source.takes_any_size:
        return InputSize(native_px, "the images' own size")
    wanted = _wanted(known, native_px)
    px = known.fitting_px(wanted.px)
    return wanted if px == wanted.px else InputSize(px, f"{wanted.reason}, or the nearest that {backbone.name} takes")


def weights_px(backbone: BackboneSettings) -> int | None:
    """The size that pretrained weights were made for; None where there are none, or nobody has stated it."""
    if backbone.weights == "none" or backbone.name == PIXELS.name:
        return None
    if facts := run_facts(backbone):
        return facts.input.size
    if backbone.weights_are_on_disk:
        return weights.stated_px(Path(backbone.weights).expanduser())
    known = lookup(backbone)
    return None if known.source.takes_any_size else known.made_for_px()


def _wanted(backbone: Backbone, native_px: int) -> InputSize:
    """The side by the rules, whether or not this network can take it."""
    made_for, settings = backbone.made_for_px(), backbone.settings
    if settings.stem == "cifar" or (settings.weights == "none" and SMALL_PX < native_px <= made_for):
        return InputSize(native_px, "the images' own size")
    if settings.weights == "none" and native_px > SMALL_PX:
        return InputSize(made_for, "the size that the network was designed for")
    if native_px > SMALL_PX or made_for <= ENLARGED_PX:
        return InputSize(made_for, "the size that the weights were made for")
    return InputSize(ENLARGED_PX, f"images up to {SMALL_PX} px are enlarged to {ENLARGED_PX} px")


def in_words(size: InputSize, body: nn.Module) -> str:
    """The size, its reason, and what an image costs the network."""
    return f"input: {size.px} px ({size.reason}); {operations_in_words(total_flops(body.eval(), size.px))} per image"


def resolved_backbone(backbone: BackboneSettings, method: MethodSettings, native_px: int) -> BackboneSettings:
    """The backbone with random weights where it is trained from scratch, and with the stem that it will have.

    Weights bring the stem that they were trained with. A network without pretrained weights gets the stem for small
    images where it has one and sees small images at their own size, or at an asked size as small as the stem was made
    for. Raw pixels are a backbone of their own, without weights and stem.
    """
    pixels = backbone.name == PIXELS.name and backbone.weights == "imagenet"  # nobody's choice: it is the default
    if pixels or getattr(method, "classifier", "") == "raw-pixels":
        return BackboneSettings(name=PIXELS.name, weights="none", stem="imagenet")
    if not method.starts_from_pretrained:
        backbone = backbone.model_copy(update={"weights": "none"})
    backbone = with_shape(backbone)
    known = lookup(backbone)
    if backbone.stem != "auto" or known.source.takes_any_size:
        return backbone
    if facts := run_facts(backbone):
        return backbone.model_copy(update={"stem": facts.backbone.stem})
    file = weights.location(backbone.weights)
    if known.card.has_small_stem and file.is_file():
        from transferkit.models.backbones.torchvision_models import stem_of_file

        return backbone.model_copy(update={"stem": stem_of_file(backbone.name, file)})
    small = backbone.weights == "none" and known.card.has_small_stem and sees_small_images(method, native_px)
    return backbone.model_copy(update={"stem": "cifar" if small else "imagenet"})


def sees_small_images(method: MethodSettings, native_px: int) -> bool:
    """Whether the input is small: the images' own size up to 64 px, or an asked one up to 32 px.

    At 64 px the stem for small images costs 15 times the operations of the other one.
    """
    return native_px <= SMALL_PX if method.asked_px is None else method.asked_px <= SMALL_STEM_PX


def run_facts(backbone: BackboneSettings) -> StoredModel | None:
    """What the run whose weights are taken says of its model; None where they come from elsewhere.

    A word such as `none` stays one where a folder of that name lies.
    """
    if not backbone.weights_are_on_disk:
        return None
    folder = Path(backbone.weights)
    return read_model(folder) if (folder / MODEL).is_file() else None
