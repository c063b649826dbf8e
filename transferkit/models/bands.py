"""Networks for images of other bands than red, green and blue: the stem of one made for three, adapted."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from transferkit.runtime.errors import TransferkitError

ATTRIBUTE = "bands"  # of a body whose stem was adapted


def bands_of(body: nn.Module) -> int:
    """How many bands a body takes: three unless its stem was adapted."""
    return int(getattr(body, ATTRIBUTE, 3))


def adapt_stem(body: nn.Module, bands: int, *, pretrained: bool) -> None:
    """Change a body so that it takes images of so many bands: its first convolution is replaced.

    Pretrained weights are kept by timm's rule (Wightman, timm.models.adapt_input_conv): for one band they are summed,
    so that grey gives what grey repeated three times gave; for more they are repeated in turn and scaled by 3 / bands,
    so that the sums stay as large. Random weights are drawn anew, with the spread that keeps sums as large.

    Raises:
        TransferkitError: If the network has no convolution of three bands.
    """
    if bands == bands_of(body):
        return
    stem = _stem(body)
    weight = stem.weight.detach()
    fresh = adapted_weight(weight, bands) if pretrained else _drawn_like(weight, bands)
    stem.weight = nn.Parameter(fresh, requires_grad=stem.weight.requires_grad)
    stem.in_channels = bands
    setattr(body, ATTRIBUTE, bands)


def adapted_weight(weight: Tensor, bands: int) -> Tensor:
    """(O, bands, h, w) of a convolution's weight (O, 3, h, w).

    Example:
        >>> adapted_weight(torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1), 1).flatten().tolist()
        [6.0]
        >>> adapted_weight(torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1), 6).flatten().tolist()
        [0.5, 1.0, 1.5, 0.5, 1.0, 1.5]
    """
    if bands == 1:
        return weight.sum(1, keepdim=True)
    repeated = weight.repeat(1, math.ceil(bands / 3), 1, 1)[:, :bands]
    return repeated * (3 / bands)


def _drawn_like(weight: Tensor, bands: int) -> Tensor:
    drawn = torch.randn(len(weight), bands, *weight.shape[2:], device=weight.device)
    return drawn * weight.std() * math.sqrt(3 / bands)


def _stem(body: nn.Module) -> nn.Conv2d:
    for module in body.modules():
        if isinstance(module, nn.Conv2d) and module.in_channels == 3 and module.groups == 1:
            return module
    raise TransferkitError(
        "This network has no first convolution of three bands that could be adapted to other bands. Choose one that "
        "has, as resnet18, or images of three bands."
    )
