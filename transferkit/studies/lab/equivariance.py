"""A picture that moves, and what moves along: the map of a convolution, a pooled map by whole steps, no dense layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from transferkit.data.datasets.shapes import CLASS_NAMES, Placement, coverages
from transferkit.report.matplotlib_figures import drawn_to
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.plurals import counted
from transferkit.studies.lab.picture_convolution import convolved, kernel_named, opened

SIDE_PX = 32  # of the picture that moves: small enough for a dense layer from all pixels to all
FARTHEST_PX = 16
MARGIN_PX = FARTHEST_PX + 4  # black around it, so that nothing leaves the map
POOL = 4  # side and stride of the pooling in px
WHOLE = 1e-5  # relative difference below which two maps are the same, up to rounding
Layer = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class LayerFact:
    """What one layer makes of a picture and of the moved picture.

    Attributes:
        name: Of the layer.
        stride: Px of the picture from one value of the map to the next.
        error: Norm of the difference between the map of the moved picture and the map moved as far (in whole places of
            the map, rounded), over the norm of the map; 0: it moves along, 1.4: as different as two strangers.
    """

    name: str
    stride: int
    error: float

    @property
    def moves_along(self) -> bool:
        """Whether both maps are the same, up to rounding."""
        return self.error < WHOLE


@dataclass(frozen=True)
class EquivarianceFacts:
    """The comparison in numbers."""

    picture: str
    px: int
    seed: int
    layers: tuple[LayerFact, ...]


@dataclass(frozen=True)
class Equivariance:
    """A picture, the moved one, and the maps of both.

    Attributes:
        facts: In numbers.
        pictures: At rest and moved, (H, W).
        maps: Of each layer: at rest, of the moved picture, and the map at rest, moved.
    """

    facts: EquivarianceFacts
    pictures: tuple[Tensor, Tensor]
    maps: tuple[tuple[Tensor, Tensor, Tensor], ...]

    @property
    def sentences(self) -> tuple[str, ...]:
        """What was seen of each layer."""
        return tuple(in_words(layer, self.facts.px) for layer in self.facts.layers)


def in_words(layer: LayerFact, px: int) -> str:
    """What a layer does when the picture moves.

    Example:
        >>> in_words(LayerFact("convolution", 1, 0.0), 3)
        'convolution: its map moves along, by 3 places; nothing else changes.'
        >>> in_words(LayerFact("pooling", 4, 0.25), 3)
        'pooling: 3 px are no whole number of its steps of 4 px; its map differs from the moved one by 25 %.'
        >>> in_words(LayerFact("dense layer", 1, 1.4), 3)
        'dense layer: its output does not move along; it differs from the moved one by 140 %.'
    """
    if layer.moves_along:
        places = px // layer.stride
        return f"{layer.name}: its map moves along, by {counted(places, 'place')}; nothing else changes."
    share = f"{100 * layer.error:.0f} %"
    if px % layer.stride:
        steps = f"{px} px are no whole number of its steps of {layer.stride} px"
        return f"{layer.name}: {steps}; its map differs from the moved one by {share}."
    return f"{layer.name}: its output does not move along; it differs from the moved one by {share}."


def compare(picture: Path | None, px: int, seed: int) -> Equivariance:
    """Move a picture to the right and look at three layers: sobel, max pooling behind it, a dense layer of the picture.

    Raises:
        TransferkitError: If the picture cannot be read, or would leave its frame.
    """
    if px > FARTHEST_PX:
        raise TransferkitError(f"The picture has room to move by {FARTHEST_PX} px; found {px}. Use a smaller --px.")
    grey = framed(star() if picture is None else shrunk(opened(picture)))
    pictures = grey, moved(grey, px)
    dense = dense_layer(grey.numel(), seed)
    layers: dict[str, tuple[int, Layer]] = {
        "convolution (sobel)": (1, convolution),
        f"convolution, then max pooling {POOL} x {POOL}": (POOL, pooled),
        "flattened, then a dense layer": (1, dense),
    }
    maps = tuple(maps_of(layer, pictures, round(px / stride)) for stride, layer in layers.values())
    facts = [
        LayerFact(name, stride, relative_difference(of_moved, expected))
        for (name, (stride, _)), (_, of_moved, expected) in zip(layers.items(), maps, strict=True)
    ]
    named = "a drawn star" if picture is None else picture.name
    return Equivariance(EquivarianceFacts(named, px, seed, tuple(facts)), pictures, maps)


def star() -> Tensor:
    """A star (SIDE_PX, SIDE_PX) with a tip at the top, as the data set `shapes` draws it."""
    upright = 0.3 * np.pi  # a quarter turn up from the tip at the right, less two of the five turns between tips
    place = Placement(np.zeros((1, 2), np.float32), np.array([0.9], np.float32), np.array([upright], np.float32))
    return torch.from_numpy(coverages(np.array([CLASS_NAMES.index("star")]), place, SIDE_PX)[0])


def shrunk(grey: Tensor) -> Tensor:
    """A picture (H, W) at (SIDE_PX, SIDE_PX)."""
    return F.interpolate(grey[None, None], (SIDE_PX, SIDE_PX), mode="bilinear", antialias=True)[0, 0]


def framed(grey: Tensor) -> Tensor:
    """A picture with black around it."""
    return F.pad(grey, (MARGIN_PX,) * 4)


def moved(map_: Tensor, places: int) -> Tensor:
    """A map (H, W) moved to the right; zeros enter.

    Example:
        >>> moved(torch.tensor([[1.0, 2.0, 0.0]]), 1).tolist()
        [[0.0, 1.0, 2.0]]
    """
    return F.pad(map_, (places, 0))[:, : map_.shape[1]]


def convolution(grey: Tensor) -> Tensor:
    """The map of a kernel for vertical edges, at stride 1."""
    return convolved(grey, kernel_named("sobel"), 1, "zeros")


def pooled(grey: Tensor) -> Tensor:
    """The same map behind max pooling."""
    return F.max_pool2d(convolution(grey)[None], POOL)[0]


def dense_layer(values: int, seed: int) -> Layer:
    """A dense layer with random weights from all pixels to as many values, laid out as a map."""
    weights = torch.randn(values, values, generator=torch.Generator().manual_seed(seed)) / values**0.5
    return lambda grey: (weights @ grey.flatten()).view(grey.shape)


def maps_of(layer: Layer, pictures: Sequence[Tensor], places: int) -> tuple[Tensor, Tensor, Tensor]:
    """The map at rest, that of the moved picture, and the map at rest, moved."""
    at_rest, of_moved = map(layer, pictures)
    return at_rest, of_moved, moved(at_rest, places)


def relative_difference(map_: Tensor, expected: Tensor) -> float:
    """Norm of the difference over the norm of what is expected."""
    return float((map_ - expected).norm() / expected.norm().clamp_min(1e-12))


def draw(comparison: Equivariance, path: Path) -> None:
    """Draw the pictures, the maps and their differences; the suffix decides the format."""
    drawn_to(path, lambda: figure(comparison))


COLUMNS = ("at rest", "of the moved picture", "at rest, then moved", "difference of these two")


def figure(comparison: Equivariance) -> Any:
    """A row for the picture and one for each layer; grey is zero, and a row has one scale."""
    from matplotlib.figure import Figure

    facts = comparison.facts
    drawing = Figure(figsize=(7.4, 7.6), layout="constrained")
    grid = drawing.subplots(1 + len(comparison.maps), len(COLUMNS))
    at_rest, of_moved = comparison.pictures
    rows = [(at_rest, of_moved, moved(at_rest, facts.px)), *comparison.maps]
    names = [f"picture, moved by {facts.px} px", *(f"{layer.name}: {words(layer)}" for layer in facts.layers)]
    for axes_row, maps, name in zip(grid, rows, names, strict=True):
        bound = float(max(map_.abs().max() for map_ in maps)) or 1.0
        for axes, map_ in zip(axes_row, (*maps, maps[1] - maps[2]), strict=True):
            axes.imshow(map_.numpy(), cmap="gray", vmin=-bound, vmax=bound, interpolation="nearest")
            axes.set(xticks=[], yticks=[])
        axes_row[0].set_title(" ", fontsize=9)  # the height of a title, without its width
        title = axes_row[0].text(0, 1.04, name, transform=axes_row[0].transAxes, fontsize=9, fontweight="bold")
        title.set_in_layout(False)  # it is wider than the column below it
    for axes, column in zip(grid[-1], COLUMNS, strict=True):
        axes.set_xlabel(column)
    return drawing


def words(layer: LayerFact) -> str:
    """A layer's difference for a title."""
    return "moves along" if layer.moves_along else f"differs by {100 * layer.error:.0f} %"
