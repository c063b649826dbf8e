"""A picture convolved with a kernel that a person can read: what stride and padding do, seen without any training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from transferkit.data.decoding import decode_whole
from transferkit.models.backbones.shapes import Window
from transferkit.report.matplotlib_figures import drawn_to
from transferkit.runtime.errors import TransferkitError, did_you_mean

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
Padding: TypeAlias = Literal["none", "zeros", "constant", "reflect", "replicate", "circular"]
F_MODES: Mapping[str, str] = {"zeros": "constant"}  # torch's word for a border of one value
GREY = 0.5  # what `constant` adds: half way between black and white

KERNELS: dict[str, tuple[tuple[float, ...], ...]] = {
    "identity": ((0, 0, 0), (0, 1, 0), (0, 0, 0)),
    "box": ((1 / 9,) * 3,) * 3,
    "gauss": ((1 / 16, 2 / 16, 1 / 16), (2 / 16, 4 / 16, 2 / 16), (1 / 16, 2 / 16, 1 / 16)),
    "sharpen": ((0, -1, 0), (-1, 5, -1), (0, -1, 0)),
    "laplace": ((0, 1, 0), (1, -4, 1), (0, 1, 0)),
    "sobel": ((-1, 0, 1), (-2, 0, 2), (-1, 0, 1)),  # brighter to the right: vertical edges
    "sobel-y": ((-1, -2, -1), (0, 0, 0), (1, 2, 1)),  # brighter below: horizontal edges
}


@dataclass(frozen=True)
class PictureConvolution:
    """A convolved picture in numbers.

    Attributes:
        kernel: Its name.
        weights: (k, k), from the top.
        stride: In px.
        padding: What was added around the picture.
        size_px: Height and width of the picture.
        map_px: Height and width of the map.
        arithmetic: How the width of the map follows.
        lowest: Smallest value of the map, for a picture in [0, 1].
        highest: Largest.
    """

    kernel: str
    weights: tuple[tuple[float, ...], ...]
    stride: int
    padding: Padding
    size_px: tuple[int, int]
    map_px: tuple[int, int]
    arithmetic: str
    lowest: float
    highest: float


def kernel_named(name: str) -> Tensor:
    """(k, k) of a kernel.

    Raises:
        TransferkitError: Names the nearest one.
    """
    if name not in KERNELS:
        raise TransferkitError(f"Unknown kernel {name!r}. {did_you_mean(name, KERNELS)}")
    return torch.tensor(KERNELS[name], dtype=torch.float32)


def convolved(grey: Tensor, kernel: Tensor, stride: int, padding: Padding) -> Tensor:
    """The map (h, w) of a picture (H, W): the kernel is laid on, not turned, as in every CNN.

    Example:
        >>> convolved(torch.tensor([[0.0, 0.0, 1.0, 1.0]]).expand(3, 4), kernel_named("sobel"), 1, "none").tolist()
        [[4.0, 4.0]]

    Raises:
        TransferkitError: If the picture is smaller than the kernel.
    """
    side = kernel.shape[0]
    border = 0 if padding == "none" else side // 2
    if min(grey.shape) + 2 * border < side or min(grey.shape) <= border:
        raise TransferkitError(f"A picture of {min(grey.shape)} px is too small for a kernel of {side} px.")
    picture = grey[None, None]  # (1, 1, H, W)
    if border:
        value = GREY if padding == "constant" else 0.0
        around = (border,) * 4
        mode = F_MODES.get(padding, padding)
        picture = F.pad(picture, around, mode, value) if mode == "constant" else F.pad(picture, around, mode)
    return F.conv2d(picture, kernel[None, None], stride=stride)[0, 0]


def opened(path: Path) -> Tensor:
    """A picture as grey values (H, W) in [0, 1], at its own size.

    Raises:
        TransferkitError: If it cannot be read.
    """
    try:
        colours = torch.from_numpy(decode_whole(path)).float() / 255  # (3, H, W)
    except TransferkitError as error:
        raise TransferkitError(f"{path} cannot be read as a picture. Name a JPEG, PNG or WebP file. {error}") from error
    return torch.einsum("chw,c->hw", colours, torch.tensor(LUMA))


def convolve(path: Path, kernel_name: str, stride: int, padding: Padding, out: Path) -> PictureConvolution:
    """Convolve a picture and draw it beside its map."""
    grey, kernel = opened(path), kernel_named(kernel_name)
    output = convolved(grey, kernel, stride, padding)
    window = Window("convolution", len(kernel), stride, 0 if padding == "none" else len(kernel) // 2)
    drawn_to(out, lambda: figure(grey, kernel, output, f"{kernel_name}, stride {stride}, padding {padding}"))
    return PictureConvolution(
        kernel_name,
        KERNELS[kernel_name],
        stride,
        padding,
        (grey.shape[0], grey.shape[1]),
        (output.shape[0], output.shape[1]),
        window.arithmetic(grey.shape[1]),
        float(output.min()),
        float(output.max()),
    )


def figure(grey: Tensor, kernel: Tensor, output: Tensor, title: str) -> Any:
    """Picture, kernel and map side by side; grey is zero in the map of a kernel that sums to zero."""
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(9, 3.4), layout="constrained")
    left, middle, right = drawing.subplots(1, 3, width_ratios=(3, 1.2, 3))
    left.imshow(grey.numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    left.set_title(f"picture, {grey.shape[0]} x {grey.shape[1]} px")
    largest = float(kernel.abs().max())
    middle.imshow(kernel.numpy(), cmap="RdBu_r", vmin=-largest, vmax=largest)
    for (row, column), weight in [
        ((row, column), float(kernel[row, column])) for row in range(3) for column in range(3)
    ]:
        dark = abs(weight) > 0.6 * largest
        middle.text(column, row, f"{weight:.3g}", ha="center", va="center", color="white" if dark else "#16202b")
    middle.set_title("kernel")
    bound = float(output.abs().max())
    signed = float(output.min()) < 0
    right.imshow(output.numpy(), cmap="gray", vmin=-bound if signed else 0, vmax=bound, interpolation="nearest")
    right.set_title(f"{title}: {output.shape[0]} x {output.shape[1]} px")
    for axes in (left, middle, right):
        axes.axis("off")
    return drawing
