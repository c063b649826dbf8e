"""Which side the network's input has, and which stem suits images of this side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transferkit.backbones import family, source, with_shape
from transferkit.backbones.cards import PIXELS
from transferkit.recipe import BackboneSettings, Method, Recipe, ScratchSettings
from transferkit.run_files import MODEL, read_object

SMALL_PX = 64  # up to this side, images are small: from scratch, the network gets a stem for them
PIXELS_PX = 16  # largest side of images whose raw pixels are the features: 768 numbers


def resolved_backbone(backbone: BackboneSettings, method: Method, native_px: int) -> BackboneSettings:
    """The backbone with random weights and, for small images, a small stem where it is trained from scratch.

    Raw pixels are a backbone of their own, without weights and stem.
    """
    pixels = backbone.name == PIXELS.name and backbone.weights == "imagenet"  # nobody's choice: it is the default
    if pixels or getattr(method, "classifier", "") == "raw-pixels":
        return BackboneSettings(name=PIXELS.name, weights="none", stem="imagenet")
    if isinstance(method, ScratchSettings):
        backbone = backbone.model_copy(update={"weights": "none"})
    backbone = with_shape(backbone)
    if backbone.stem != "auto" or source(backbone.name) == "small":
        return backbone
    if facts := run_facts(backbone):
        return backbone.model_copy(update={"stem": facts["backbone"]["stem"]})
    has_small_stem = source(backbone.name) == "torchvision" and family(backbone.name) != "alexnet"
    small = isinstance(method, ScratchSettings) and native_px <= SMALL_PX and has_small_stem
    return backbone.model_copy(update={"stem": "cifar" if small else "imagenet"})


def input_px(recipe: Recipe, backbone: BackboneSettings, device_type: str, native_px: int) -> int:
    """The side of the network's input.

    Networks for small images and those with a small stem see images as they are; weights of a run bring their size
    along; raw pixels are few; others see 64 px on a CPU and 128 px (160 px from ten epochs on) elsewhere.
    """
    if isinstance(recipe.method.size, int):
        return recipe.method.size
    if backbone.name == PIXELS.name:
        return min(PIXELS_PX, native_px)
    if facts := run_facts(backbone):
        return int(facts["input"]["size"])
    if backbone.stem == "cifar" or source(backbone.name) == "small":
        return native_px
    if device_type == "cpu":
        return 64
    return 160 if (getattr(recipe.method, "epochs", None) or 0) >= 10 else 128


def run_facts(backbone: BackboneSettings) -> dict[str, Any] | None:
    """What the run whose weights are taken says of its model; None where they come from elsewhere."""
    path = Path(backbone.weights) / "model.json"
    return read_object(path, MODEL) if path.is_file() else None
