"""Weather: snow, frost, fog and brightness."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from transferkit.data.corruptions.blur import motion_blurred
from transferkit.data.corruptions.draws import Draws
from transferkit.data.corruptions.resampling import along_both, zoom_matrix

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
ICE = (0.88, 0.95, 1.0)  # the tint of synthetic frost, chosen by eye


def brightness(x: Tensor, added: float, draws: Draws) -> Tensor:  # noqa: ARG001
    """Adds to the value of HSV, at most to 1; hue and saturation stay, so all channels grow by one factor."""
    value = x.amax(dim=1, keepdim=True)
    brighter = (value + added).clamp(max=1)
    return torch.where(value > 0, x * (brighter / value.clamp(min=1e-9)), brighter.expand_as(x))


# ------------------------------------------------------------------------------------------------- snow


def snow(x: Tensor, constants: tuple[float, float, float, float, int, float, float], draws: Draws) -> Tensor:
    """Flakes from thresholded noise, enlarged and blown about, once more turned by 180 degrees, on a whitened image."""
    mean, deviation, zoom, threshold, radius, sigma, share = constants
    height, width = x.shape[-2:]
    noise = mean + deviation * draws.normal(1, height, width)
    flakes = along_both(noise, zoom_matrix(height, zoom), zoom_matrix(width, zoom))
    flakes = torch.where(flakes < threshold, torch.zeros_like(flakes), flakes)
    flakes = (flakes.clamp(0, 1) * 255).floor() / 255  # the authors pass it on as uint8
    flakes = motion_blurred(flakes, draws.uniform(low=-135, high=-45), radius, sigma)
    grey = (x * torch.tensor(LUMA, device=x.device).view(3, 1, 1)).sum(dim=1, keepdim=True)
    whitened = share * x + (1 - share) * torch.maximum(x, grey * 1.5 + 0.5)
    return whitened + flakes + flakes.rot90(2, (-2, -1))


# ------------------------------------------------------------------------------------------------- frost


def frost_synthetic(x: Tensor, constants: tuple[float, float], draws: Draws) -> Tensor:
    """The authors' mixture of image and frost, with drawn frost: their photographs are not ours to ship."""
    image_share, frost_share = constants
    return image_share * x + frost_share * frost_texture(draws, *x.shape[-2:])


def frost_texture(draws: Draws, height: int, width: int) -> Tensor:
    """(B, 3, H, W) in [0, 1], needles of ice on dark glass: ridged noise (Musgrave), finer and fainter by octaves."""
    needles = torch.zeros((), device=draws.device)
    cells, weight, total = 2, 1.0, 0.0
    while cells <= min(height, width) // 2:
        smooth = _smooth_noise(draws, cells, height, width)
        needles = needles + weight * (1 - (2 * smooth - 1).abs()) ** 3
        cells, weight, total = 2 * cells, 0.7 * weight, total + weight
    cover = _smooth_noise(draws, 2, height, width)  # some parts are free of ice
    ice = (2.2 * needles / total * (0.4 + 0.9 * cover)).clamp(0, 1)
    return ice * torch.tensor(ICE, device=draws.device).view(3, 1, 1)


def _smooth_noise(draws: Draws, cells: int, height: int, width: int) -> Tensor:
    """(B, 1, H, W) in [0, 1], random values on a lattice of `cells` per side, cubic between them."""
    lattice = draws.uniform(1, cells + 1, cells + 1)
    return F.interpolate(lattice, (height, width), mode="bicubic", align_corners=True).clamp(0, 1)


# ------------------------------------------------------------------------------------------------- fog


def fog(x: Tensor, constants: tuple[float, float], draws: Draws) -> Tensor:
    """Adds a random cloud and scales so that the brightest value of the image stays."""
    strength, decay = constants
    height, width = x.shape[-2:]
    brightest = x.amax(dim=(1, 2, 3), keepdim=True)
    cloud = plasma(draws, 1 << (max(height, width) - 1).bit_length(), decay)[:, None, :height, :width]
    return (x + strength * cloud) * brightest / (brightest + strength)


def plasma(draws: Draws, side: int, decay: float) -> Tensor:
    """(B, side, side) in [0, 1], clouds by the diamond-square algorithm on a torus; `side` is a power of two.

    A new point is the mean of its four neighbours plus uniform noise of amplitude wibble^2; wibble starts at 100 and is
    divided by `decay` from one scale to the next, as in the authors' code.
    """
    heights = torch.zeros(draws.count, side, side, device=draws.device)
    step, wibble = side, 100.0
    while step >= 2:
        _refine(heights, step, wibble**2, draws)
        step, wibble = step // 2, wibble / decay
    heights -= heights.amin(dim=(1, 2), keepdim=True)
    return heights / heights.amax(dim=(1, 2), keepdim=True)


def _refine(heights: Tensor, step: int, amplitude: float, draws: Draws) -> None:
    """Fill the points halfway between those `step` px apart: first the centres of squares, then of diamonds."""
    half, points = step // 2, heights.shape[-1] // step

    def noise() -> Tensor:
        return draws.uniform(points, points, low=-amplitude, high=amplitude)

    corners = heights[:, ::step, ::step].clone()
    pairs = corners + corners.roll(-1, 1)
    centres = (pairs + pairs.roll(-1, 2)) / 4 + noise()
    heights[:, half::step, half::step] = centres
    heights[:, ::step, half::step] = (centres + centres.roll(1, 1) + corners + corners.roll(-1, 2)) / 4 + noise()
    heights[:, half::step, ::step] = (centres + centres.roll(1, 2) + corners + corners.roll(-1, 1)) / 4 + noise()
