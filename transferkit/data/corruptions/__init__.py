"""The menu of corruptions: fifteen of CIFAR-10-C and three extras, each at severity 1 to 5, for a whole batch at once.

Hendrycks and Dietterich, ICLR 2019 (arXiv:1903.12261). The authors ask for results on their stored files; what is made
here is named `RECIPE`, and `load_cifar10c` reads the files where a user has them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from transferkit.data.corruptions import blur, digital, frost_photographs, noise, weather
from transferkit.data.corruptions.cifar10c import load_cifar10c
from transferkit.data.corruptions.constants import CIFAR, IMAGENET
from transferkit.data.corruptions.draws import Draws, chunk_length, chunked
from transferkit.runtime.errors import TransferkitError, did_you_mean

if TYPE_CHECKING:
    from transferkit.data.images import Images

__all__ = [
    "CORRUPTIONS",
    "EXTRAS",
    "FAMILIES",
    "FAST",
    "FAST_SEVERITIES",
    "FIFTEEN",
    "RECIPE",
    "SEVERITIES",
    "Corruption",
    "corrupt",
    "corrupted",
    "load_cifar10c",
    "require_known",
    "require_pixels",
    "with_frost_photographs",
]

RECIPE = "CIFAR-10-C recipe (transferkit v1)"
SEVERITIES = (1, 2, 3, 4, 5)
LARGE_PX = 128  # from this shorter side on, the constants of ImageNet-C hold
LEAST_PX = 8


@dataclass(frozen=True)
class Corruption:
    """One entry of the menu.

    Attributes:
        family: noise, blur, weather, digital, or extra for those outside the fifteen.
        change: (images (B, 3, H, W) float32 in [0, 1], constants, draws) -> the same shape; may leave [0, 1].
        cifar: Constants for severity 1 to 5, for shorter sides below 128 px.
        imagenet: The same for larger images.
    """

    family: str
    change: Callable[[Tensor, Any, Draws], Tensor]
    cifar: tuple[Any, ...]
    imagenet: tuple[Any, ...]


Menu = Mapping[str, Corruption]


def _entry(family: str, change: Callable[[Tensor, Any, Draws], Tensor], constants: str) -> Corruption:
    return Corruption(family, change, CIFAR[constants], IMAGENET[constants])


CORRUPTIONS: dict[str, Corruption] = {
    "gaussian_noise": _entry("noise", noise.gaussian_noise, "gaussian_noise"),
    "shot_noise": _entry("noise", noise.shot_noise, "shot_noise"),
    "impulse_noise": _entry("noise", noise.impulse_noise, "impulse_noise"),
    "defocus_blur": _entry("blur", blur.defocus_blur, "defocus_blur"),
    "glass_blur": _entry("blur", blur.glass_blur, "glass_blur"),
    "motion_blur": _entry("blur", blur.motion_blur, "motion_blur"),
    "zoom_blur": _entry("blur", blur.zoom_blur, "zoom_blur"),
    "snow": _entry("weather", weather.snow, "snow"),
    "frost_synthetic": _entry("weather", weather.frost_synthetic, "frost"),
    "fog": _entry("weather", weather.fog, "fog"),
    "brightness": _entry("weather", weather.brightness, "brightness"),
    "contrast": _entry("digital", digital.contrast, "contrast"),
    "elastic_transform": _entry("digital", digital.elastic_transform, "elastic_transform"),
    "pixelate": _entry("digital", digital.pixelate, "pixelate"),
    "jpeg_compression": _entry("digital", digital.jpeg_compression, "jpeg_compression"),
    "speckle_noise": _entry("extra", noise.speckle_noise, "speckle_noise"),
    "gaussian_blur": _entry("extra", blur.gaussian_blur, "gaussian_blur"),
    "saturate": _entry("extra", digital.saturate, "saturate"),
}
FIFTEEN = tuple(name for name, entry in CORRUPTIONS.items() if entry.family != "extra")
EXTRAS = tuple(name for name, entry in CORRUPTIONS.items() if entry.family == "extra")
FAMILIES = ("noise", "blur", "weather", "digital")
FAST = ("gaussian_noise", "motion_blur", "fog", "contrast", "jpeg_compression")  # every family, at FAST_SEVERITIES
FAST_SEVERITIES = (1, 3, 5)


def with_frost_photographs(folder: Path) -> dict[str, Corruption]:
    """The menu with the authors' frost in place of `frost_synthetic`, from a folder with their frost1 ... frost5 files.

    Raises:
        TransferkitError: If a file is missing or unreadable.
    """
    frost = _entry("weather", frost_photographs.change(folder), "frost")
    return {
        ("frost" if name == "frost_synthetic" else name): (frost if name == "frost_synthetic" else entry)
        for name, entry in CORRUPTIONS.items()
    }


def corrupt(
    pixels: Tensor, name: str, severity: int, seed: int = 0, first: int = 0, menu: Menu = CORRUPTIONS
) -> Tensor:
    """Corrupted copies of images.

    What happens to an image depends on its place in the set, not on the batch or the device, up to rounding: random
    numbers are drawn on the CPU, for chunks of 1,000 images (50 above 64 x 64 px, 1 above
    512 x 512 px), from a hash of name, severity, seed
    and chunk.

    Args:
        pixels: (N, 3, H, W) uint8, on any device.
        name: One of the menu.
        severity: 1 to 5.
        seed: Another seed, other noise.
        first: Place in its set of the first of these images.
        menu: `CORRUPTIONS`, or `with_frost_photographs(folder)`.

    Returns:
        (N, 3, H, W) uint8, on the same device.

    Raises:
        TransferkitError: If name, severity, shape or type is not as above, or a side is below 8 px.
    """
    entry = require_known(name, menu)
    require_pixels(pixels)
    if severity not in SEVERITIES:
        raise TransferkitError(f"Severity is 1, 2, 3, 4 or 5; got {severity!r}.")
    constants = (entry.imagenet if min(pixels.shape[-2:]) >= LARGE_PX else entry.cifar)[severity - 1]
    changed = torch.empty_like(pixels)
    for rows, draws in chunked(pixels, f"{name}/{severity}", seed, first):
        changed[rows] = as_uint8(entry.change(pixels[rows].float() / 255, constants, draws))
    return changed


def as_uint8(values: Tensor) -> Tensor:
    """[0, 1] -> 0..255, cut off and not rounded, as numpy's uint8 does it for the authors.

    A thousandth of a level is added first, so that the rounding of float32 does not push whole levels below themselves.
    """
    return (values.clamp(0, 1) * 255 + 1e-3).to(torch.uint8)


def corrupted(
    images: Images,
    name: str,
    severity: int,
    seed: int = 0,
    device: str | torch.device = "cpu",
    menu: Menu = CORRUPTIONS,
) -> Images:
    """A corrupted copy of an image set, with its labels, ids and class names; needs the memory of the copy.

    Raises:
        TransferkitError: As `corrupt`.
    """
    pixels = np.empty((len(images), 3, *images.size_px), dtype=np.uint8)
    length = chunk_length(*images.size_px)
    for start in range(0, len(images), length):
        rows = slice(start, start + length)
        chunk = torch.from_numpy(images.take(rows)).to(device)
        pixels[rows] = corrupt(chunk, name, severity, seed, start, menu).cpu().numpy()
    return images.with_pixels(pixels)


def require_known(name: str, menu: Menu = CORRUPTIONS) -> Corruption:
    """The entry of a menu.

    Raises:
        TransferkitError: If there is none of that name.
    """
    if name not in menu:
        raise TransferkitError(f"Unknown corruption {name!r}. {did_you_mean(name, menu, limit=len(menu))}")
    return menu[name]


def require_pixels(pixels: Tensor) -> None:
    """Refuse what cannot be corrupted.

    Raises:
        TransferkitError: If it is not (N, 3, H, W) uint8, or a side is below 8 px.
    """
    if pixels.dtype != torch.uint8 or pixels.ndim != 4 or pixels.shape[1] != 3:
        raise TransferkitError(
            f"Corruptions need uint8 pixels of shape (N, 3, H, W); got {pixels.dtype} {tuple(pixels.shape)}."
        )
    if min(pixels.shape[-2:]) < LEAST_PX:
        raise TransferkitError(
            f"Corruptions need images of at least {LEAST_PX} px on both sides; got {tuple(pixels.shape[-2:])}. "
            "Resize them first."
        )
