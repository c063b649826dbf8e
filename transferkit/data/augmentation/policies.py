"""RandAugment and TrivialAugment: each image gets operations of its own, drawn from fourteen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from transferkit.data.augmentation import colour, detail, geometry, levels
from transferkit.data.augmentation.draws import BatchDraws

MAGNITUDES = 30  # steps of a range
ROUNDS = 2  # of RandAugment, for ImageNet (Cubuk et al. 2020, section 4.3)

OPERATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {  # (float images 0 to 255, amounts (B,)) -> the same shape
    "identity": lambda images, _: images,
    "shear_x": geometry.sheared_x,
    "shear_y": geometry.sheared_y,
    "translate_x": geometry.shifted_x,
    "translate_y": geometry.shifted_y,
    "rotate": geometry.rotated,
    "brightness": colour.brightened,
    "colour": colour.saturated,
    "contrast": colour.contrasted,
    "sharpness": detail.sharpened,
    "posterize": levels.posterized,
    "solarize": levels.solarized,
    "autocontrast": levels.autocontrasted,
    "equalize": levels.equalized,
}


@dataclass(frozen=True)
class Range:
    """The amounts of an operation.

    Attributes:
        end: At the largest magnitude.
        start: At magnitude 0, where the image stays as it is.
        signed: Whether the opposite amount is as likely.
        of_side: Whether both are shares of the image's side.
    """

    end: float = 0.0
    start: float = 0.0
    signed: bool = False
    of_side: bool = False

    def amounts(self, magnitude: Tensor, sign: Tensor, side: int) -> Tensor:
        """(B,), the amount of each image; magnitudes in [0, 1], signs -1 or 1."""
        amount = (self.start + (self.end - self.start) * magnitude) * (side if self.of_side else 1)
        return amount * sign if self.signed else amount


def _ranges(shear: float, shift: Range, rotate: float, change: float, bits: float) -> dict[str, Range]:
    return {
        "identity": Range(),
        "shear_x": Range(shear, signed=True),
        "shear_y": Range(shear, signed=True),
        "translate_x": shift,
        "translate_y": shift,
        "rotate": Range(rotate, signed=True),
        **dict.fromkeys(("brightness", "colour", "contrast", "sharpness"), Range(change, signed=True)),
        "posterize": Range(bits, start=8),
        "solarize": Range(0, start=256),
        "autocontrast": Range(),
        "equalize": Range(),
    }


RANDAUGMENT = _ranges(0.3, Range(150 / 331, signed=True, of_side=True), 30, 0.9, 4)  # Cubuk et al. 2020, the code's
TRIVIAL = _ranges(0.99, Range(32, signed=True), 135, 0.99, 2)  # Mueller and Hutter 2021, table 7, "wide"


def randaugment(images: Tensor, strength: float, draws: BatchDraws) -> Tensor:
    """Two operations after each other, drawn for each image, at magnitude `strength` of 30 (arXiv:1909.13719)."""
    colour.require_colours(images)
    numbers = draws.uniform(2 * ROUNDS)
    magnitude = torch.full((len(images),), strength / MAGNITUDES, device=images.device)
    for step in range(ROUNDS) if strength else ():
        images = one_of(RANDAUGMENT, images, numbers[:, 2 * step], magnitude, numbers[:, 2 * step + 1])
    return images


def trivial(images: Tensor, strength: float, draws: BatchDraws) -> Tensor:
    """One operation at one of 31 magnitudes, both drawn for each image (arXiv:2103.10158).

    At `strength` 1 the ranges are those of the paper, which has no setting; below, that share of them.
    """
    colour.require_colours(images)
    if not strength:
        return images
    numbers = draws.uniform(3)
    magnitude = strength * (numbers[:, 1] * (MAGNITUDES + 1)).floor() / MAGNITUDES
    return one_of(TRIVIAL, images, numbers[:, 0], magnitude, numbers[:, 2])


def one_of(ranges: Mapping[str, Range], images: Tensor, choice: Tensor, magnitude: Tensor, sign: Tensor) -> Tensor:
    """Each image under the operation that its number in `choice` (B,) falls to, all alike; `sign` (B,) likewise."""
    chosen = (choice * len(ranges)).long()
    signs = torch.where(sign < 0.5, -1.0, 1.0)
    result = images.clone()
    for index, (name, amounts) in enumerate(ranges.items()):
        rows = (chosen == index).nonzero()[:, 0]
        if name != "identity" and len(rows):
            side = images.shape[-1 if name.endswith("x") else -2]
            changed = OPERATIONS[name](images[rows].float(), amounts.amounts(magnitude[rows], signs[rows], side))
            result[rows] = levels.as_uint8(changed)
    return result
