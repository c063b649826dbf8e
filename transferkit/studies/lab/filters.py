"""Pictures of what a convolutional network looks for: the filters of its first layer, and the maps an image leaves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from transferkit.data.decoding import decode
from transferkit.models.classifier import Classifier
from transferkit.report.matplotlib_figures import drawn_to
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.plurals import counted

Floats = npt.NDArray[np.float32]

Which: TypeAlias = Literal["first", "active"]

SHOWN_FILTERS = 64
SHOWN_MAPS = 10  # of each stage
COLUMNS = 16


@dataclass(frozen=True)
class StageMaps:
    """The maps that a picture leaves in one stage.

    Attributes:
        stage: Its name.
        shape: (C, h, w).
        shown: Numbers of the maps that are drawn, from 0, in the order drawn.
        activity: Their mean absolute values.
    """

    stage: str
    shape: tuple[int, ...]
    shown: tuple[int, ...]
    activity: tuple[float, ...]


@dataclass(frozen=True)
class Drawing:
    """What a figure shows, in words, and of maps in numbers."""

    sentence: str
    stages: tuple[StageMaps, ...] = ()


def first_filters(classifier: Classifier) -> Tensor:
    """The weights (K, 3, h, w) of the first convolution, which sees the colours.

    Raises:
        TransferkitError: If no convolution sees three channels.
    """
    for module in classifier.body.modules():
        if isinstance(module, nn.Conv2d) and module.weight.shape[1] == 3:
            return module.weight.detach()
    raise TransferkitError("This network has no convolution that sees the colours, so there are no filters to draw.")


def as_pictures(filters: Tensor) -> Floats:
    """Filters (K, 3, h, w) as RGB pictures (K, h, w, 3): grey is zero, and each filter's largest weight 0 or 1.

    Example:
        >>> as_pictures(torch.tensor([[[[2.0]], [[-1.0]], [[0.0]]]])).tolist()
        [[[[1.0, 0.25, 0.5]]]]
    """
    largest = filters.abs().amax(dim=(1, 2, 3), keepdim=True).clamp_min(1e-12)
    pictures: Floats = (0.5 + 0.5 * filters / largest).permute(0, 2, 3, 1).numpy()
    return pictures


@torch.no_grad()
def stage_maps(classifier: Classifier, pixels: npt.NDArray[np.uint8]) -> dict[str, Floats]:
    """What each stage makes of an image (3, H, W): maps (C, h, w) by stage; stages without maps are left out."""
    maps: dict[str, Floats] = {}

    def keep(stage: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.ndim == 4 and output.shape[2] * output.shape[3] > 1:
                maps[stage] = output[0].float().numpy()

        return hook

    roots = [(stage, module) for stage in classifier.stages for _, module in classifier.stage_modules(stage)]
    handles = [module.register_forward_hook(keep(stage)) for stage, module in roots]
    try:
        classifier.eval().features(torch.from_numpy(pixels)[None])
    finally:
        for handle in handles:
            handle.remove()
    return maps


def draw(classifier: Classifier, image: Path | None, path: Path, which: Which = "first") -> str:
    """Draw filters, or with an image its maps, into a file; says in one sentence what is shown.

    Args:
        classifier: Whose filters or maps.
        image: A picture; None draws the filters.
        path: The file.
        which: The first maps of each stage, or the most active ones.

    Raises:
        TransferkitError: If the format is unknown, the image cannot be read, or there is nothing to draw.
    """
    return described(classifier, image, path, which).sentence


def described(classifier: Classifier, image: Path | None, path: Path, which: Which = "first") -> Drawing:
    """Draw as `draw` does, and say in numbers what is shown."""
    if image is None:
        pictures = as_pictures(first_filters(classifier))
        drawn_to(path, lambda: _filters_figure(pictures))
        return Drawing(_filters_sentence(pictures))
    pixels = decode(image, classifier.input_spec.size, "squash")
    maps = stage_maps(classifier, pixels)
    if not maps:
        raise TransferkitError("No stage of this network gives maps, so there are none to draw.")
    shown = {stage: CHOICES[which](channels)[:SHOWN_MAPS] for stage, channels in maps.items()}
    drawn_to(path, lambda: _maps_figure(pixels, maps, shown))
    stages = tuple(
        StageMaps(stage, tuple(channels.shape), tuple(shown[stage]), tuple(activity(channels)[shown[stage]].tolist()))
        for stage, channels in maps.items()
    )
    words = f"{WHICH_WORDS[which]} of each stage, beside the image, each with its number"
    return Drawing(f"Drawn: {words}. Bright is large; each map has its own scale.", stages)


def activity(channels: Floats) -> Floats:
    """How active each of the maps (C, h, w) is: its mean absolute value (C,).

    Example:
        >>> activity(np.array([[[1.0, -3.0]], [[0.0, 1.0]]], np.float32)).tolist()
        [2.0, 0.5]
    """
    means: Floats = np.abs(channels).mean(axis=(1, 2))
    return means


def most_active(channels: Floats) -> list[int]:
    """Numbers of the maps (C, h, w), the most active first."""
    return [int(number) for number in np.argsort(-activity(channels), kind="stable")]


CHOICES: dict[Which, Callable[[Floats], list[int]]] = {
    "first": lambda channels: list(range(len(channels))),
    "active": most_active,
}
WHICH_WORDS: dict[Which, str] = {
    "first": f"the first {SHOWN_MAPS} maps",
    "active": f"the {SHOWN_MAPS} maps with the largest mean absolute value, the largest first,",
}


def _filters_figure(pictures: Floats) -> Any:
    shown = pictures[:SHOWN_FILTERS]
    figure, grid = _grid(-(-len(shown) // COLUMNS), min(COLUMNS, len(shown)))
    _fill(grid.ravel(), shown)
    return figure


def _filters_sentence(pictures: Floats) -> str:
    which = "all" if len(pictures) <= SHOWN_FILTERS else f"the first {SHOWN_FILTERS} of"
    side = f"{pictures.shape[1]}x{pictures.shape[2]}"
    scale = "Grey is zero; each filter has its own scale."
    return f"Drawn: {which} {counted(len(pictures), 'filter')} of the first convolution, {side} px. {scale}"


def _maps_figure(pixels: npt.NDArray[np.uint8], maps: dict[str, Floats], shown: dict[str, list[int]]) -> Any:
    figure, grid = _grid(len(maps), SHOWN_MAPS + 1)
    for row, (stage, channels) in zip(grid, maps.items(), strict=True):
        _fill(row, [pixels.transpose(1, 2, 0), *channels[shown[stage]]])
        for place, number in zip(row[1:], shown[stage], strict=False):
            place.text(0.5, -0.05, str(number), transform=place.transAxes, ha="center", va="top", fontsize=6)
        height, width = channels.shape[1:]
        row[0].set_title(" ")  # the height of a title, without its width
        words = f"{stage}: {counted(len(channels), 'map')} of {height} x {width} px"
        row[0].text(0, 1.06, words, transform=row[0].transAxes).set_in_layout(False)
    return figure


def _grid(rows: int, columns: int) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(0.62 * columns, 0.86 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.ravel():
        axes.axis("off")
    return figure, grid


def _fill(axes: Sequence[Any], pictures: Sequence[Any] | Floats) -> None:
    for place, picture in zip(axes, pictures, strict=False):
        place.imshow(picture, cmap="gray", interpolation="nearest")
