"""Brightness, contrast, saturation, hue and grey, for each image by its own amount; float images hold 0 to 255."""

from __future__ import annotations

import torch
from torch import Tensor

from transferkit.data.augmentation.draws import BatchDraws
from transferkit.data.augmentation.levels import as_uint8
from transferkit.runtime.errors import TransferkitError

LUMA = (0.2989, 0.587, 0.114)  # of red, green and blue (ITU-R BT.601, as torchvision rounds them)
HUE_SHARE = 0.25  # of the strength; SimCLR takes 0.8 and 0.2 (Chen et al. 2020, appendix A)


def colour(images: Tensor, strength: float, draws: BatchDraws) -> Tensor:
    """Brightness, contrast and saturation times 1 - strength to 1 + strength, hue turned by a quarter of that.

    In this order, each by its own number: what torchvision calls ColorJitter, there in random order.
    """
    require_colours(images)
    change = strength * (2 * draws.uniform(4) - 1)
    pixels = brightened(images.float(), change[:, 0])
    pixels = saturated(contrasted(pixels, change[:, 1]), change[:, 2])
    return as_uint8(hue_turned(pixels, HUE_SHARE * change[:, 3]) if strength else pixels)


def grey(images: Tensor, strength: float, draws: BatchDraws) -> Tensor:
    """Without colour, for a share `strength` of the images."""
    require_colours(images)
    chosen = draws.uniform(1) < strength
    return torch.where(chosen[:, :, None, None], as_uint8(luma(images.float())), images)


def require_colours(images: Tensor) -> None:
    """Refuse images without red, green and blue.

    Raises:
        TransferkitError: If there are other channels.
    """
    if images.shape[1] != len(LUMA):
        raise TransferkitError(
            f"Augmentation of colours needs red, green and blue; these images have {images.shape[1]} channels. Leave "
            "colour, grey, randaugment and trivial out."
        )


def luma(images: Tensor) -> Tensor:
    """(B, 1, H, W), how bright each pixel is."""
    red, green, blue = (images[:, channel : channel + 1] * weight for channel, weight in enumerate(LUMA))
    return red.add_(green).add_(blue)


def blended(images: Tensor, others: Tensor | float, change: Tensor) -> Tensor:
    """Away from the others by `change` (B,) of the distance, towards them where it is negative; within 0 to 255."""
    factor = (1 + change)[:, None, None, None]
    return (images * factor).add_((1 - factor) * others).clamp_(0, 255)


def brightened(images: Tensor, change: Tensor) -> Tensor:
    """Levels times 1 + change (B,)."""
    return (images * (1 + change)[:, None, None, None]).clamp_(0, 255)


def contrasted(images: Tensor, change: Tensor) -> Tensor:
    """Distance from the image's mean grey times 1 + change (B,)."""
    return blended(images, luma(images).mean((2, 3), keepdim=True), change)


def saturated(images: Tensor, change: Tensor) -> Tensor:
    """Distance from grey times 1 + change (B,)."""
    return blended(images, luma(images), change)


def hue_turned(images: Tensor, turns: Tensor) -> Tensor:
    """Hue of HSV turned by a share `turns` (B,) of the whole circle (Smith 1978)."""
    brightest, darkest = images.amax(1), images.amin(1)  # (B, H, W)
    chroma = brightest - darkest
    sector = hue_sector(images, brightest, chroma).add_(6 * turns[:, None, None])  # sixths of the circle
    return torch.stack([_channel(sector + offset, brightest, chroma) for offset in (5, 3, 1)], 1)


def hue_sector(images: Tensor, brightest: Tensor, chroma: Tensor) -> Tensor:
    """(B, H, W), the hue in sixths of a circle, from -1 to 5; 0 where there is no colour."""
    red, green, blue = images.unbind(1)
    least = chroma.clamp(min=1e-6)
    sector = torch.where(brightest == green, (blue - red) / least + 2, (red - green) / least + 4)
    return torch.where(brightest == red, (green - blue) / least, sector)


def _channel(sector: Tensor, brightest: Tensor, chroma: Tensor) -> Tensor:
    """One channel from where it stands on the circle: how far below the brightest, by a trapezium of width six."""
    place = sector.remainder_(6)
    return brightest - chroma * torch.minimum(place, 4 - place).clamp_(0, 1)
