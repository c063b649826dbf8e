"""Digital: contrast, elastic transform, pixelation, JPEG compression and saturation."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from transferkit.data.corruptions.draws import Draws
from transferkit.data.corruptions.resampling import box_matrix, gaussian_blurred

HALF_UP = 0.5 + 1e-4  # above the rounding of float32


def contrast(x: Tensor, remaining: float, draws: Draws) -> Tensor:  # noqa: ARG001
    """Draws each channel of each image towards its mean."""
    mean = x.mean(dim=(2, 3), keepdim=True)
    return (x - mean) * remaining + mean


def saturate(x: Tensor, constants: tuple[float, float], draws: Draws) -> Tensor:  # noqa: ARG001
    """Factor and summand of the saturation of HSV. A grey pixel has hue 0, so a summand tints it red."""
    factor, summand = constants
    value = x.amax(dim=1, keepdim=True)
    range_ = value - x.amin(dim=1, keepdim=True)
    saturation = range_ / value.clamp(min=1e-9)
    grey_distance = torch.tensor([0.0, 1.0, 1.0], device=x.device).view(3, 1, 1)
    distance = torch.where(range_ > 0, (value - x) / range_.clamp(min=1e-9), grey_distance)  # of hue alone
    return value * (1 - (saturation * factor + summand).clamp(0, 1) * distance)


def pixelate(x: Tensor, share: float, draws: Draws) -> Tensor:  # noqa: ARG001
    """Down to a share of the side and up again by Pillow's BOX filter, which rounds after each of its four passes."""
    height, width = x.shape[-2:]
    small_height, small_width = max(int(height * share), 1), max(int(width * share), 1)
    small = _boxed(x * 255, small_height, small_width)
    return _boxed(small, height, width) / 255


def _boxed(levels: Tensor, height: int, width: int) -> Tensor:
    """Levels (..., H, W) of 0..255 at another size; halves are rounded up."""
    columns, rows = box_matrix(levels.shape[-1], width), box_matrix(levels.shape[-2], height)
    wide = (levels @ columns.to(levels.device).T + HALF_UP).floor()
    return (rows.to(levels.device) @ wide + HALF_UP).floor()


def jpeg_compression(x: Tensor, quality: int, draws: Draws) -> Tensor:  # noqa: ARG001
    """Through Pillow, image by image on the CPU: the encoders of graphics cards give other pixels."""
    pixels = (x * 255).round().to("cpu", torch.uint8).movedim(1, -1).numpy()
    decoded = torch.from_numpy(np.stack([_through_jpeg(image, quality) for image in pixels]))
    return decoded.to(x.device).movedim(-1, 1).to(x.dtype) / 255


def _through_jpeg(image: npt.NDArray[np.uint8], quality: int) -> npt.NDArray[np.uint8]:
    """(H, W, 3) as it comes back from a JPEG file."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file, formats=("JPEG",)))


# ------------------------------------------------------------------------------------------------- elastic


def elastic_transform(x: Tensor, constants: tuple[float, float, float], draws: Draws) -> Tensor:
    """A random affine map, then a smooth random displacement of every pixel; both bilinear."""
    side = min(x.shape[-2:])
    strength, smoothness, shift = (share * side for share in constants)
    height, width = x.shape[-2:]
    warped = _sampled(x, affine_sources(draws, height, width, shift), align_corners=True)
    if strength == 0:
        return warped
    noise = draws.uniform(2, height, width, low=-1, high=1)
    displacement = strength * gaussian_blurred(noise, smoothness, "reflect", truncate=3)  # (B, 2, H, W), x before y
    return _sampled(warped, _pixel_grid(height, width, x) + displacement.movedim(1, -1), align_corners=False)


def affine_sources(draws: Draws, height: int, width: int, shift: float) -> Tensor:
    """(B, H, W, 2), x before y: where each pixel comes from when three points around the centre move by up to `shift`.

    The points lie a third of the shorter side from the centre: below right, above right and above left of it.
    """
    distance = min(height, width) // 3
    centre = torch.tensor([width // 2, height // 2], dtype=torch.float32, device=draws.device)
    corners = torch.tensor([[1, 1], [1, -1], [-1, -1]], dtype=torch.float32, device=draws.device) * distance
    points = centre + corners  # (3, 2)
    moved = points + draws.uniform(3, 2, low=-shift, high=shift)
    ones = torch.ones_like(moved[..., :1])
    back = torch.linalg.solve(torch.cat([moved, ones], dim=-1), points.expand_as(moved))  # (B, 3, 2)
    grid = _pixel_grid(height, width, moved).reshape(-1, 2)
    homogeneous = torch.cat([grid, torch.ones_like(grid[:, :1])], dim=1)  # (H * W, 3)
    sources: Tensor = (homogeneous @ back).view(len(moved), height, width, 2)
    return sources


def _pixel_grid(height: int, width: int, like: Tensor) -> Tensor:
    """(H, W, 2), the coordinates of every pixel, x before y."""
    down, right = (torch.arange(side, device=like.device, dtype=like.dtype) for side in (height, width))
    return torch.stack(torch.meshgrid(right, down, indexing="xy"), dim=-1)


def _sampled(x: Tensor, sources: Tensor, *, align_corners: bool) -> Tensor:
    """Bilinear values at pixel coordinates (B, H, W, 2), mirrored outside: at the centres of the outermost pixels with
    `align_corners` (OpenCV's reflect 101), else at their outer edges (scipy's reflect)."""
    height, width = x.shape[-2:]
    size = torch.tensor([width, height], device=x.device, dtype=x.dtype)
    grid = sources * 2 / (size - 1) - 1 if align_corners else (sources * 2 + 1) / size - 1
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="reflection", align_corners=align_corners)
