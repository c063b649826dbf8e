"""Frost from the authors' photographs, where the user has them; their origin is not stated, so they are not shipped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from transferkit.data.corruptions.draws import Draws
from transferkit.data.decoding import decode_whole
from transferkit.runtime.errors import TransferkitError

FILES = ("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg")  # frost6.jpg is never drawn there either
SMALL_SCALE = 0.2  # of the photographs, for CIFAR; at 128 px and above they keep their size
LARGE_PX = 128


def change(folder: Path) -> Callable[[Tensor, tuple[float, float], Draws], Tensor]:
    """The corruption `frost` with the photographs of a folder.

    Raises:
        TransferkitError: If one of the five files is missing or unreadable.
    """
    photographs = [_photograph(folder / name) for name in FILES]

    def frost(x: Tensor, constants: tuple[float, float], draws: Draws) -> Tensor:
        image_share, frost_share = constants
        return image_share * x + frost_share * _crops(photographs, draws, *x.shape[-2:])

    return frost


def _photograph(path: Path) -> Tensor:
    """(3, H, W) in [0, 1]."""
    try:
        pixels = decode_whole(path)
    except TransferkitError as error:
        wanted = ", ".join(FILES)
        raise TransferkitError(
            f"{error} The folder of frost must hold {wanted}, from "
            "github.com/hendrycks/robustness (ImageNet-C/imagenet_c/imagenet_c/frost)."
        ) from error
    return torch.from_numpy(pixels).float() / 255


def _crops(photographs: list[Tensor], draws: Draws, height: int, width: int) -> Tensor:
    """(B, 3, H, W), per image a place in one of the photographs."""
    scaled = [_scaled(photograph, height, width).to(draws.device) for photograph in photographs]
    chosen = draws.integers(0, len(scaled)).tolist()
    places = draws.uniform(2).tolist()
    crops = []
    for index, (down, right) in zip(chosen, places, strict=True):
        photograph = scaled[index]
        top = int(down * (photograph.shape[-2] - height))
        left = int(right * (photograph.shape[-1] - width))
        crops.append(photograph[:, top : top + height, left : left + width])
    return torch.stack(crops)


def _scaled(photograph: Tensor, height: int, width: int) -> Tensor:
    """A photograph at the size that the authors use, or larger where the images would not fit into it."""
    _, rows, columns = photograph.shape
    usual = 1.0 if min(height, width) >= LARGE_PX else SMALL_SCALE
    scale = max(usual, (height + 1) / rows, (width + 1) / columns)
    size = round(rows * scale), round(columns * scale)
    return F.interpolate(photograph[None], size, mode="bilinear", align_corners=False)[0]
