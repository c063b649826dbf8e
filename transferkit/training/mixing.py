"""Images mixed with others of their batch: mixup and CutMix."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from transferkit.training.resolved import Mixing

Box = tuple[slice, slice]


def mix(images: Tensor, labels: Tensor, mixing: Mixing) -> tuple[Tensor, Tensor, float]:
    """Images mixed with others of the batch, the others' labels, and the share of the first.

    mixup: Zhang et al. 2018 (arXiv:1710.09412). CutMix: Yun et al. 2019 (arXiv:1905.04899). With both, a coin decides.
    """
    mixup, cutmix = mixing.mixup, mixing.cutmix
    if not mixup and not cutmix:
        return images, labels, 1.0
    use_cutmix = cutmix > 0 and (mixup == 0 or torch.rand(()) < 0.5)
    alpha = cutmix if use_cutmix else mixup
    share = float(torch.distributions.Beta(alpha, alpha).sample())
    order = torch.randperm(len(images)).to(images.device)
    if not use_cutmix:
        return share * images + (1 - share) * images[order], labels[order], share
    box = random_box(images.shape[2], images.shape[3], share)
    return pasted(images, images[order], box), labels[order], remaining_share(images, box)


def random_box(height: int, width: int, share: float) -> Box:
    """Rows and columns of a box of 1 - share of the area, around a centre anywhere in the image and cut at its borders.

    As in the published code (Yun et al. 2019, equation 2 and their `rand_bbox`), so that what is pasted is on average
    less than 1 - share.
    """
    side = math.sqrt(1 - share)
    return clipped(height, int(height * side)), clipped(width, int(width * side))


def clipped(side: int, length: int) -> slice:
    """A stretch of this length around a random centre, cut to what lies in 0..side."""
    centre = int(torch.randint(side, ()))
    return slice(max(0, centre - length // 2), min(side, centre + length // 2))


def pasted(images: Tensor, others: Tensor, box: Box) -> Tensor:
    """Images (B, 3, H, W) with the others' pixels inside the box."""
    mixed = images.clone()
    mixed[:, :, *box] = others[:, :, *box]
    return mixed


def remaining_share(images: Tensor, box: Box) -> float:
    """The share of the area of images (B, 3, H, W) that lies outside the box."""
    rows, columns = box
    covered: int = (rows.stop - rows.start) * (columns.stop - columns.start)
    return 1 - covered / (images.shape[2] * images.shape[3])
