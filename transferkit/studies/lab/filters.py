"""Pictures of what a convolutional network looks for: the filters of its first layer, and the maps an image leaves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from transferkit.data.decoding import decode
from transferkit.models import backbones
from transferkit.models.classifier import Classifier
from transferkit.models.stored_model import FILE as MODEL
from transferkit.models.stored_model import read_model
from transferkit.recipe import BackboneSettings
from transferkit.report.matplotlib_figures import STYLE, SUFFIXES
from transferkit.runtime.console import Console
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.files import write_atomically

Floats = npt.NDArray[np.float32]

SHOWN_FILTERS = 64
SHOWN_MAPS = 10  # of each stage: the first, not the prettiest
COLUMNS = 16


def network(name: str, weights: str, size: int | None, console: Console) -> Classifier:
    """The network to draw; its head plays no part.

    Args:
        name: Of the backbone.
        weights: imagenet, none, a file or a run's folder.
        size: Side of the input in px; None takes the run's, or what suits the network.
        console: Hears about downloads.
    """
    if size is None and (Path(weights) / MODEL).is_file():
        size = read_model(Path(weights)).input.size
    if size is None:
        size = 32 if backbones.card(name).source == "small" else 224
    settings = BackboneSettings(name=name, weights=weights)
    return backbones.load(settings, ("one", "two"), size, console).eval()


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


def draw(classifier: Classifier, image: Path | None, path: Path) -> str:
    """Draw filters, or with an image its maps, into a file; says in one sentence what is shown.

    Raises:
        TransferkitError: If the format is unknown, the image cannot be read, or there is nothing to draw.
    """
    suffix = path.suffix.lower().lstrip(".")
    if suffix not in SUFFIXES:
        raise TransferkitError(
            f"Cannot draw a figure as {path.name!r}. Expected a name that ends in .pdf, .png or .svg."
        )
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with mpl.rc_context(STYLE):
        if image is None:
            figure, sentence = _filters_figure(as_pictures(first_filters(classifier)))
        else:
            pixels = decode(image, classifier.input_spec.size, "squash")
            figure, sentence = _maps_figure(pixels, stage_maps(classifier, pixels))
        FigureCanvasAgg(figure)
        write_atomically(path, lambda temporary: figure.savefig(temporary, format=suffix))
    return sentence


def _filters_figure(pictures: Floats) -> tuple[Any, str]:
    shown = pictures[:SHOWN_FILTERS]
    rows = -(-len(shown) // COLUMNS)
    figure, grid = _grid(rows, min(COLUMNS, len(shown)))
    _fill(grid.ravel(), shown)
    side = f"{pictures.shape[1]}x{pictures.shape[2]}"
    which = "all" if len(shown) == len(pictures) else f"the first {len(shown)} of"
    scale = "Grey is zero; each filter has its own scale."
    return figure, f"Drawn: {which} {len(pictures)} filters of the first convolution, {side} px. {scale}"


def _maps_figure(pixels: npt.NDArray[np.uint8], maps: dict[str, Floats]) -> tuple[Any, str]:
    if not maps:
        raise TransferkitError("No stage of this network gives maps, so there are none to draw.")
    figure, grid = _grid(len(maps), SHOWN_MAPS + 1)
    for row, (stage, channels) in zip(grid, maps.items(), strict=True):
        _fill(row, [pixels.transpose(1, 2, 0), *channels[:SHOWN_MAPS]])
        height, width = channels.shape[1:]
        row[0].set_title(f"{stage}: {len(channels)} maps of {height} x {width} px", loc="left")
    shown = f"the first {SHOWN_MAPS} maps of each stage"
    return figure, f"Drawn: {shown}, beside the image. Bright is large; each map has its own scale."


def _grid(rows: int, columns: int) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(0.62 * columns, 0.8 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.ravel():
        axes.axis("off")
    return figure, grid


def _fill(axes: Sequence[Any], pictures: Sequence[Any] | Floats) -> None:
    for place, picture in zip(axes, pictures, strict=False):
        place.imshow(picture, cmap="gray", interpolation="nearest")
