"""Receptive fields by experiment: pixels that are no numbers spread to every value that depends on them.

For attention in windows, token mixing and control flow, where arithmetic over kernels and strides does not know.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from transferkit.models.bands import bands_of

SIDES = 4  # of the image: top, left, bottom, right


@dataclass
class Bisection:
    """How many lines of pixels from one side must be lost until a value notices: more than `unnoticed`."""

    unnoticed: int
    noticed: int

    @property
    def next(self) -> int:
        """The number of lines to try, one first, then the middle; the answer once nothing lies between."""
        return 1 if self.unnoticed == 0 else (self.unnoticed + self.noticed + 1) // 2

    @property
    def is_done(self) -> bool:
        """Whether `noticed` is the smallest number."""
        return self.noticed - self.unnoticed == 1

    def learn(self, lines: int, is_noticed: bool) -> None:
        """Take in what one number of lines did."""
        if is_noticed:
            self.noticed = min(self.noticed, lines)
        else:
            self.unnoticed = max(self.unnoticed, lines)


@torch.no_grad()
def measured_fields(body: nn.Module, size: int, names: Collection[str]) -> dict[str, int | Literal["global"]]:
    """The longer side in px of what a value near the middle of each module's output depends on.

    Args:
        body: In eval mode; takes images (1, 3, size, size).
        size: Side of the images in px.
        names: Of modules.

    Returns:
        By name; `global` where it reaches from one border of the image to the other. Modules that do not see the image
        are left out, and all of them where the network refuses such pixels.
    """
    try:
        values = middle_values(body, size, names)
    except Exception:  # a network may check its input, and refuse it in any way
        return {}
    searches = {(name, side): Bisection(0, size) for name in values for side in range(SIDES)}
    while asked := {(side, search.next) for (_, side), search in searches.items() if not search.is_done}:
        for side, lines in asked:
            noticed = noticed_by(body, lost_lines(size, bands_of(body), side, lines), values)
            for name in values:
                searches[name, side].learn(lines, noticed[name])
    return {name: field([searches[name, side].noticed for side in range(SIDES)], size) for name in values}


def field(lines: list[int], size: int) -> int | Literal["global"]:
    """The longer side, from how many lines of each side are one more than a value can do without."""
    height, width = (size - (lines[axis] - 1) - (lines[axis + 2] - 1) for axis in range(2))
    return "global" if max(height, width) == size else max(height, width)


def lost_lines(size: int, bands: int, side: int, lines: int) -> Tensor:
    """An image (1, 3, size, size) without its first rows (0), columns (1), last rows (2) or columns (3)."""
    image, is_last = ordinary(size, bands), side >= 2
    image.narrow(2 + side % 2, size - lines if is_last else 0, lines).fill_(torch.nan)
    return image


def ordinary(size: int, bands: int = 3) -> Tensor:
    """Random pixels, (1, bands, size, size)."""
    return torch.randn(1, bands, size, size, generator=torch.Generator().manual_seed(0))


def middle_values(body: nn.Module, size: int, names: Collection[str]) -> dict[str, int]:
    """The position of one value in each module's flattened output: the middle one that sees the image's middle."""
    with outputs_of(body, names) as outputs:
        body(ordinary(size, bands_of(body)))
        sound = {name for name, output in outputs.items() if not output.isnan().any()}
        positions: dict[str, int] = {}
        spread = 1
        while spread < size and len(positions) < len(sound):
            image, start = ordinary(size, bands_of(body)), (size - spread) // 2
            image[:, :, start : start + spread, start : start + spread] = torch.nan
            body(image)
            for name in sound - positions.keys():
                if (lost := outputs[name].isnan()).any():
                    positions[name] = middle_of(lost)
            spread *= 2
    return positions


def middle_of(chosen: Tensor) -> int:
    """The flattened position of the chosen value at the median of each axis; of the first one where none is there."""
    places = chosen.nonzero()
    middle = tuple(places.median(0).values.tolist())
    position = torch.arange(chosen.numel()).view(chosen.shape)
    return int(position[middle] if chosen[middle] else position[chosen][0])


def noticed_by(body: nn.Module, image: Tensor, values: Mapping[str, int]) -> dict[str, bool]:
    """Whether the chosen value of each module is no number any more."""
    with outputs_of(body, values) as outputs:
        body(image)
        return {name: bool(outputs[name].flatten()[position].isnan()) for name, position in values.items()}


@contextmanager
def outputs_of(body: nn.Module, names: Collection[str]) -> Iterator[dict[str, Tensor]]:
    """A dict that holds each named module's last output that is a tensor."""
    outputs: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                outputs[name] = output

        return hook

    handles = [module.register_forward_hook(keep(name)) for name, module in body.named_modules() if name in names]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()
