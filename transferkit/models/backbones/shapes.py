"""How far windows that slide over maps shrink them, and the refusal of images that shrink to nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from transferkit.runtime.errors import TransferkitError

# Reflection needs one pixel besides the border; going round in a circle needs as many pixels as are padded.
NEEDS_BESIDES_PADDING = {"reflect": 1, "circular": 0}


@dataclass(frozen=True)
class Window:
    """A convolution or pooling layer, as far as it changes the side of a map.

    Attributes:
        layer: Its name, as in `block2 convolution`.
        kernel: Side of the window in px.
        stride: Px from one window to the next.
        padding: Px added on each side.
        padding_mode: zeros, constant, reflect, replicate or circular.
    """

    layer: str
    kernel: int
    stride: int = 1
    padding: int = 0
    padding_mode: str = "zeros"

    def side_after(self, side: int) -> int:
        """Side of the map behind this layer in px; below 1 where no window fits.

        Example:
            >>> Window("pool", kernel=2, stride=2).side_after(7)
            3
        """
        return (side + 2 * self.padding - self.kernel) // self.stride + 1

    def arithmetic(self, side: int) -> str:
        """The same as a person computes it.

        Example:
            >>> Window("conv", kernel=5, padding=1).arithmetic(2)
            '(side + 2 x padding - kernel) // stride + 1 = (2 + 2 x 1 - 5) // 1 + 1 = 0'
        """
        numbers = f"({side} + 2 x {self.padding} - {self.kernel}) // {self.stride} + 1"
        return f"(side + 2 x padding - kernel) // stride + 1 = {numbers} = {self.side_after(side)}"


def sides(name: str, windows: Sequence[Window], size: int, remedy: str) -> list[int]:
    """Sides of the maps behind each window, for images of `size` px.

    Args:
        name: Of the network.
        windows: In the order of the forward pass.
        size: Side of the images in px.
        remedy: What the user can change.

    Raises:
        TransferkitError: If a map is too small for a window or its padding; names the layer and shows the arithmetic.
    """
    map_sides: list[int] = []
    for window in windows:
        before = map_sides[-1] if map_sides else size
        problem = _problem(window, before)
        if problem:
            way = " -> ".join(map(str, [size, *map_sides]))
            raise TransferkitError(
                f"{name} cannot take images of {size} px: {window.layer} {problem}. Sides so far: {way} px. {remedy}"
            )
        map_sides.append(window.side_after(before))
    return map_sides


def _problem(window: Window, side: int) -> str:
    mode = window.padding_mode
    least = window.padding + NEEDS_BESIDES_PADDING[mode] if mode in NEEDS_BESIDES_PADDING else 1
    if side < least:
        return f"pads {window.padding} px by {window.padding_mode}, which needs a map of {least} px; it has {side}"
    if window.side_after(side) < 1:
        return f"would leave no map: {window.arithmetic(side)}"
    return ""
