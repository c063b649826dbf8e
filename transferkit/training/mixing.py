"""Images mixed with others of their batch: mixup and CutMix."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from transferkit.training.resolved import Mixing


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
    return cut_and_pasted(images, images[order], share), labels[order], pasted_share(images, share)


def cut_and_pasted(images: Tensor, others: Tensor, share: float) -> Tensor:
    """Images (B, 3, H, W) with a box of the others pasted at one random place; the box keeps 1 - share of the area."""
    height, width = _box(images, share)
    top = int(torch.randint(0, images.shape[2] - height + 1, ()))
    left = int(torch.randint(0, images.shape[3] - width + 1, ()))
    pasted = images.clone()
    pasted[:, :, top : top + height, left : left + width] = others[:, :, top : top + height, left : left + width]
    return pasted


def pasted_share(images: Tensor, share: float) -> float:
    """The share that really remains of the first image, once the box has whole pixels."""
    height, width = _box(images, share)
    return 1 - height * width / (images.shape[2] * images.shape[3])


def _box(images: Tensor, share: float) -> tuple[int, int]:
    side = math.sqrt(1 - share)
    return round(images.shape[2] * side), round(images.shape[3] * side)
