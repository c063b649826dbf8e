"""Images mixed with others of their batch: mixup and CutMix."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from transferkit.models.preparation import as_unit_range
from transferkit.runtime.machine import sent
from transferkit.training.resolved import Mixing

Box = tuple[slice, slice]


@dataclass(frozen=True)
class MixedBatch:
    """The images of one step and what each is mixed with; pixels are mixed a part at a time.

    mixup: Zhang et al. 2018 (arXiv:1710.09412). CutMix: Yun et al. 2019 (arXiv:1905.04899). With both, a coin decides.

    Attributes:
        images: (B, 3, H, W) uint8; fewer where nothing is mixed and this process has a part of them.
        labels: (B,).
        share: Of an image's own label; 1 where nothing is mixed.
        order: (B,), which image each is mixed with.
        box: Where the other is pasted; None where the two are averaged.
        first: Place in the step of the first of the images.
    """

    images: Tensor
    labels: Tensor
    share: float = 1.0
    order: Tensor | None = None
    box: Box | None = None
    first: int = 0

    @classmethod
    def of(cls, images: Tensor, labels: Tensor, mixing: Mixing, first: int = 0) -> MixedBatch:
        """As the settings say; what is random is drawn for the whole batch, so that parts of it change nothing."""
        mixup, cutmix = mixing.mixup, mixing.cutmix
        if not mixup and not cutmix:
            return cls(images, labels, first=first)
        use_cutmix = cutmix > 0 and (mixup == 0 or torch.rand(()) < 0.5)
        alpha = cutmix if use_cutmix else mixup
        share = float(torch.distributions.Beta(alpha, alpha).sample())
        order = sent(torch.randperm(len(images)), images.device)
        if not use_cutmix:
            return cls(images, labels, share, order)
        box = random_box(images.shape[2], images.shape[3], share)
        return cls(images, labels, remaining_share(images, box), order, box)

    def pixels(self, part: slice) -> Tensor:
        """(P, 3, H, W) in [0, 1], the images of a part as the network gets them."""
        images = as_unit_range(self.images[part.start - self.first : part.stop - self.first], self.images.shape[1])
        if self.order is None:
            return images
        others = as_unit_range(self.images[self.order[part]], self.images.shape[1])
        return self.share * images + (1 - self.share) * others if self.box is None else pasted(images, others, self.box)

    def targets(self, part: slice) -> list[tuple[float, Tensor]]:
        """The labels (P,) of a part, each with its share."""
        own = (self.share, self.labels[part])
        return [own] if self.order is None else [own, (1 - self.share, self.labels[self.order[part]])]


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
