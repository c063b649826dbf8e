"""Where pixels come from: random crops, rotation, turns, shears and shifts; beyond the border images are reflected."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from transferkit.data.augmentation.draws import BatchDraws
from transferkit.data.augmentation.levels import as_uint8
from transferkit.runtime.errors import TransferkitError

WIDEST = math.log(4 / 3)  # of a crop's aspect ratio, relative to the image's (Szegedy et al. 2015)


def crop(images: Tensor, strength: float, draws: BatchDraws) -> Tensor:
    """A random rectangle of each image, resized to the whole (Szegedy et al. 2015, arXiv:1409.4842).

    Area is uniform from `strength` to 1, and the logarithm of the aspect ratio up to that of 4:3 either way, less where
    the rectangle would leave the image. (B, C, H, W) uint8, as all of these.
    """
    height, width = images.shape[-2:]
    numbers = draws.uniform(4)
    area = strength + (1 - strength) * numbers[:, 0]
    reach = (-area.log()).clamp(max=WIDEST)
    ratio = ((2 * numbers[:, 1] - 1) * reach).exp()
    rows = (height * (area / ratio).sqrt()).round().clamp(1, height)
    columns = (width * (area * ratio).sqrt()).round().clamp(1, width)
    top = (numbers[:, 2] * (height - rows + 1)).floor()
    left = (numbers[:, 3] * (width - columns + 1)).floor()
    return resized_crop(images, top, left, rows, columns)


def resized_crop(images: Tensor, top: Tensor, left: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Rectangles (B,) of images, each resized to the whole by bilinear interpolation, as two products of matrices."""
    height, width = images.shape[-2:]
    down, across = interpolation(top, rows, height), interpolation(left, columns, width)
    pixels = images.to(torch.float32, memory_format=torch.contiguous_format)
    return as_uint8(down[:, None] @ pixels @ across[:, None].mT)


def interpolation(first: Tensor, length: Tensor, side: int) -> Tensor:
    """(B, side, side): each row the weights of the old pixels in a new one; new ones fill `length` from `first` on."""
    places = torch.arange(side, device=first.device, dtype=torch.float32)
    sources = (places + 0.5) * (length / side)[:, None] - 0.5  # (B, side), within the rectangle
    sources = sources.clamp(min=0).minimum(length[:, None] - 1) + first[:, None]
    return (1 - (sources[:, :, None] - places).abs()).clamp(min=0)


def rotation(images: Tensor, strength: float, draws: BatchDraws) -> Tensor:
    """Turned about the centre by up to `strength` degrees either way."""
    return as_uint8(rotated(images.float(), strength * (2 * draws.uniform(1)[:, 0] - 1)))


def rotated(images: Tensor, degrees: Tensor) -> Tensor:
    """Each image turned about its centre by its angle (B,), against the clock."""
    angle = torch.deg2rad(degrees)
    cosine, sine = angle.cos(), angle.sin()
    return moved(images, torch.stack((cosine, -sine, sine, cosine), 1).view(-1, 2, 2))


def sheared_x(images: Tensor, amount: Tensor) -> Tensor:
    """Rows shifted by `amount` (B,) px per px of distance from the centre; those below go to the left."""
    return moved(images, _sheared(amount, place=1))


def sheared_y(images: Tensor, amount: Tensor) -> Tensor:
    """Columns shifted likewise; those on the right go up."""
    return moved(images, _sheared(amount, place=2))


def _sheared(amount: Tensor, place: int) -> Tensor:
    """(B, 2, 2), the unit matrix with `amount` at one place."""
    matrices = torch.eye(2, device=amount.device).flatten().repeat(len(amount), 1)
    matrices[:, place] = amount
    return matrices.view(-1, 2, 2)


def shifted_x(images: Tensor, pixels: Tensor) -> Tensor:
    """Moved to the right by `pixels` (B,)."""
    return moved(images, None, torch.stack((-pixels, torch.zeros_like(pixels)), 1))


def shifted_y(images: Tensor, pixels: Tensor) -> Tensor:
    """Moved down by `pixels` (B,)."""
    return moved(images, None, torch.stack((torch.zeros_like(pixels), -pixels), 1))


def moved(images: Tensor, matrices: Tensor | None, offsets: Tensor | None = None) -> Tensor:
    """Float images (B, C, H, W) whose pixel at p, in px from the centre, comes from `matrices @ p + offsets`.

    Bilinear; beyond the border the image goes on reflected.
    """
    height, width = images.shape[-2:]
    across = torch.arange(width, device=images.device) - (width - 1) / 2
    down = torch.arange(height, device=images.device) - (height - 1) / 2
    places = torch.stack(torch.meshgrid(across, down, indexing="xy"), -1).view(1, -1, 2)  # (1, H W, 2) as (x, y)
    sources = places if matrices is None else places @ matrices.mT
    sources = sources if offsets is None else sources + offsets[:, None]
    scale = torch.tensor((2 / width, 2 / height), device=images.device)
    grid = (sources * scale).view(len(images), height, width, 2)
    return grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def vertical_flip(images: Tensor, strength: float, draws: BatchDraws) -> Tensor:
    """Upside down, mirrored, for a share `strength` of the images."""
    flipped = draws.uniform(1) < strength  # (B, 1)
    return torch.where(flipped[:, :, None, None], images.flip(2), images)


def quarter_turns(images: Tensor, strength: float, draws: BatchDraws) -> Tensor:
    """Turned by 90, 180 or 270 degrees against the clock, each alike, for a share `strength` of the images.

    Raises:
        TransferkitError: If the images are not square, so that turned ones would have another shape.
    """
    height, width = images.shape[-2:]
    if height != width:
        raise TransferkitError(
            f"quarter_turns needs square images; these have {height} x {width} px. Leave it out, or use vertical_flip."
        )
    numbers = draws.uniform(2)
    turns = torch.where(numbers[:, 0] < strength, 1 + (3 * numbers[:, 1]).long(), 0)[:, None, None, None]
    halved = torch.where(turns >= 2, images.flip((2, 3)), images)
    return torch.where(turns % 2 == 1, halved.rot90(1, (2, 3)), halved)
