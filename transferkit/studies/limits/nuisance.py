"""Harmless changes in steps (moved, scaled, turned, cropped, covered): in which range does the model bear them?"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from transferkit.data.corruptions.draws import Draws, chunked
from transferkit.data.images import Images
from transferkit.metrics.outputs import Outputs
from transferkit.runtime.console import Console
from transferkit.runtime.errors import TransferkitError, did_you_mean
from transferkit.studies.limits.corruption_severity import outputs_of
from transferkit.studies.limits.image_sets import sample
from transferkit.studies.limits.shares import Share, share_of
from transferkit.studies.limits.subject import LimitsSubject

GREY = 128 / 255
IMAGES = 400
SAFE_DROP = 0.05  # of accuracy
RELIANCE = 2.0  # times the share that guessing gives


@dataclass(frozen=True)
class Sweep:
    """One change in steps.

    Attributes:
        values: The steps, ascending, without the neutral one.
        neutral: The value that changes nothing.
        unit: What the values count.
        change: (images (B, 3, H, W) float32 in [0, 1], value, draws) -> images.
    """

    values: tuple[float, ...]
    neutral: float
    unit: str
    change: Callable[[Tensor, float, Draws], Tensor]


@dataclass(frozen=True)
class SweepCell:
    """One step: accuracy, and how many answers differ from those on the unchanged images."""

    value: float
    accuracy: Share
    flipped: Share


@dataclass(frozen=True)
class SafeRange:
    """The steps around the unchanged image up to which accuracy stays within 5 points."""

    low: float
    high: float
    words: str


@dataclass(frozen=True)
class SweepRow:
    """What one change does in steps."""

    name: str
    unit: str
    cells: tuple[SweepCell, ...]
    safe: SafeRange


@dataclass(frozen=True)
class BackgroundReliance:
    """Accuracy with the middle greyed out, beside guessing the commonest class."""

    accuracy: Share
    chance: float
    relies: bool
    words: str


@dataclass(frozen=True)
class SweepReport:
    """What harmless changes do; `accuracy` is that of the same images unchanged."""

    n: int
    accuracy: Share
    sweeps: tuple[SweepRow, ...]
    background: BackgroundReliance


def changed(pixels: Tensor, name: str, value: float, seed: int = 0, first: int = 0) -> Tensor:
    """Images after one step of a sweep.

    Args:
        pixels: (N, 3, H, W) uint8, on any device.
        name: One of `SWEEPS`, or background_only.
        value: Usually one of the sweep's values.
        seed: Of the places that occlusion covers; the other changes are not random.
        first: Place in its set of the first of these images, for occlusion.

    Returns:
        (N, 3, H, W) uint8; smaller after centre_crop.

    Raises:
        TransferkitError: If there is no such sweep, or the value is outside what it can do.
    """
    if name not in CHANGES:
        raise TransferkitError(f"Unknown nuisance {name!r}. {did_you_mean(name, CHANGES)}")
    pieces = [
        _rounded(CHANGES[name].change(pixels[rows].float() / 255, value, draws))
        for rows, draws in chunked(pixels, f"nuisance/{name}", seed, first)
    ]
    return torch.cat(pieces) if pieces else pixels


def _rounded(values: Tensor) -> Tensor:
    return (values.clamp(0, 1) * 255).round().to(torch.uint8)


def translation_x(x: Tensor, share: float, draws: Draws) -> Tensor:  # noqa: ARG001 - nothing here is random
    """To the right by a share of the width, in whole px; the edge is repeated into the gap."""
    width = x.shape[-1]
    return x[..., (torch.arange(width) - round(share * width)).clamp(0, width - 1).to(x.device)]


def translation_y(x: Tensor, share: float, draws: Draws) -> Tensor:
    """Down by a share of the height, in whole px; the edge is repeated into the gap."""
    return translation_x(x.mT, share, draws).mT


def scale(x: Tensor, factor: float, draws: Draws) -> Tensor:
    """Larger or smaller about the centre at the same image size; below 1 the edge is repeated around the image."""
    _require(0.1 <= factor <= 10, "scale", factor, "0.1 to 10")
    height, width = x.shape[-2:]
    if factor > 1:
        return _resized(centre_crop(x, 1 / factor, draws), height, width)
    small = _resized(x, max(round(height * factor), 1), max(round(width * factor), 1))
    rows, columns = (
        (torch.arange(side) - (side - inner) // 2).clamp(0, inner - 1).to(x.device)
        for side, inner in zip((height, width), small.shape[-2:], strict=True)
    )
    return small[..., rows[:, None], columns]


def _resized(x: Tensor, height: int, width: int) -> Tensor:
    return F.interpolate(x, (height, width), mode="bilinear", antialias=True)


def rotation(x: Tensor, degrees: float, draws: Draws) -> Tensor:  # noqa: ARG001
    """Anticlockwise about the centre; the edge is repeated into the corners."""
    height, width = x.shape[-2:]
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    rows = [[cosine, -sine * height / width, 0.0], [sine * width / height, cosine, 0.0]]
    turn = torch.tensor(rows, device=x.device).expand(len(x), 2, 3)
    grid = F.affine_grid(turn, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)


def centre_crop(x: Tensor, share: float, draws: Draws) -> Tensor:  # noqa: ARG001
    """The middle, a share of each side; the images become smaller, and the model's own resize enlarges them."""
    _require(0 < share <= 1, "centre_crop", share, "a share of the side above 0 and at most 1")
    top, left, height, width = _middle(x, share)
    return x[..., top : top + height, left : left + width]


def grey_background(x: Tensor, share: float, draws: Draws) -> Tensor:  # noqa: ARG001
    """Everything grey but the middle, a share of each side."""
    _require(0 < share <= 1, "grey_background", share, "a share of the side above 0 and at most 1")
    top, left, height, width = _middle(x, share)
    hidden = torch.full_like(x, GREY)
    hidden[..., top : top + height, left : left + width] = x[..., top : top + height, left : left + width]
    return hidden


def background_only(x: Tensor, share: float, draws: Draws) -> Tensor:  # noqa: ARG001
    """The middle grey, a share of each side: what is recognised now is recognised by the background."""
    _require(0 <= share <= 1, "background_only", share, "a share of the side from 0 to 1")
    top, left, height, width = _middle(x, share)
    hidden = x.clone()
    hidden[..., top : top + height, left : left + width] = GREY
    return hidden


def occlusion(x: Tensor, share: float, draws: Draws) -> Tensor:
    """A grey rectangle of the image's proportions over a share of its area, at a random place inside it."""
    _require(0 <= share <= 1, "occlusion", share, "a share of the area from 0 to 1")
    places = draws.uniform(2, 1)  # (B, 2, 1)
    covered = []
    for axis, side in enumerate(x.shape[-2:]):
        length = round(side * math.sqrt(share))
        start = (places[:, axis] * (side - length + 1)).floor()  # (B, 1)
        position = torch.arange(side, device=x.device)
        covered.append((position >= start) & (position < start + length))
    mask = covered[0][:, None, :, None] & covered[1][:, None, None, :]
    return torch.where(mask, torch.full_like(x, GREY), x)


def _middle(x: Tensor, share: float) -> tuple[int, int, int, int]:
    """Top, left, height and width of the middle, at least 1 px unless the share is 0."""
    height, width = (max(round(side * share), int(share > 0)) for side in x.shape[-2:])
    return (x.shape[-2] - height) // 2, (x.shape[-1] - width) // 2, height, width


def _require(holds: bool, name: str, value: float, expected: str) -> None:
    if not holds:
        raise TransferkitError(f"The value of {name} must be {expected}; got {value}.")


QUARTER = (-0.25, -0.2, -0.15, -0.1, -0.05, 0.05, 0.1, 0.15, 0.2, 0.25)
SHARES = (0.5, 0.6, 0.7, 0.8, 0.9)
SWEEPS: dict[str, Sweep] = {
    "translation_x": Sweep(QUARTER, 0.0, "share of the width, to the right", translation_x),
    "translation_y": Sweep(QUARTER, 0.0, "share of the height, down", translation_y),
    "scale": Sweep((0.5, 0.6, 0.7, 0.8, 0.9, 1.1, 1.25, 1.5, 1.75, 2.0), 1.0, "times the size", scale),
    "rotation": Sweep((10.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 150.0, 180.0), 0.0, "degrees", rotation),
    "centre_crop": Sweep(SHARES, 1.0, "share of each side kept", centre_crop),
    "grey_background": Sweep(SHARES, 1.0, "share of each side kept", grey_background),
    "occlusion": Sweep((0.1, 0.2, 0.3, 0.4, 0.5, 0.6), 0.0, "share of the area covered", occlusion),
}
BACKGROUND_ONLY = Sweep((0.6,), 0.0, "share of each side hidden in the middle", background_only)
CHANGES = SWEEPS | {"background_only": BACKGROUND_ONLY}


# ---- what the model makes of them ----


def measure_sweeps(subject: LimitsSubject, seed: int, console: Console) -> SweepReport:
    """Accuracy and changed answers along every sweep, the range that is safe, and what the background alone gives."""
    images = sample(subject.images.test, IMAGES, seed)
    clean = outputs_of(subject.test, images)
    steps = sum(len(sweep.values) for sweep in SWEEPS.values()) + 1
    rows = []
    with console.progress("nuisance sweeps", steps * len(images)) as progress:
        for name, sweep in SWEEPS.items():
            cells = [cell(value, collect_step(subject, images, name, value, seed), clean) for value in sweep.values]
            rows.append(SweepRow(name, sweep.unit, tuple(cells), safe_range(cells, sweep.neutral, clean)))
            progress.advance(len(sweep.values) * len(images), name.replace("_", " "))
        background = background_reliance(subject, images, seed)
        progress.advance(len(images))
    return SweepReport(len(images), share_of(clean.is_right, clean.groups), tuple(rows), background)


def collect_step(subject: LimitsSubject, images: Images, name: str, value: float, seed: int) -> Outputs:
    """What the network says about images after one step of a sweep."""

    def change(pixels: Any, first: int) -> Any:
        return changed(pixels, name, value, seed, first)

    return subject.store.judged(images, change, f"nuisance {name} {value:g}, seed {seed}", subject.limits)[0]


def cell(value: float, outputs: Outputs, clean: Outputs) -> SweepCell:
    """Accuracy, and how many answers differ from those on the unchanged images."""
    right = share_of(outputs.is_right, outputs.groups)
    return SweepCell(value, right, share_of(outputs.predictions != clean.predictions, clean.groups))


def safe_range(cells: Sequence[SweepCell], neutral: float, clean: Outputs) -> SafeRange:
    """The steps around the unchanged image up to which accuracy stays within 5 points."""
    least = float(clean.is_right.mean()) - SAFE_DROP
    is_safe = {step.value: step.accuracy.value >= least for step in cells}
    low = _reach(sorted((value for value in is_safe if value < neutral), reverse=True), is_safe, neutral)
    high = _reach(sorted(value for value in is_safe if value > neutral), is_safe, neutral)
    return SafeRange(low, high, "none" if low == high else f"{low:g} to {high:g}")


def _reach(outwards: Sequence[float], is_safe: dict[float, bool], neutral: float) -> float:
    """The last safe step before the first one that is not."""
    reached = neutral
    for value in outwards:
        if not is_safe[value]:
            break
        reached = value
    return reached


def background_reliance(subject: LimitsSubject, images: Images, seed: int) -> BackgroundReliance:
    """Accuracy with the middle greyed out, beside guessing the commonest class."""
    outputs = collect_step(subject, images, "background_only", BACKGROUND_ONLY.values[0], seed)
    right = share_of(outputs.is_right, outputs.groups)
    chance = float(np.bincount(images.require_labels()).max() / len(images))
    relies = right.interval[0] > RELIANCE * chance
    words = "It relies on the background." if relies else "That shows no reliance on the background."
    return BackgroundReliance(right, chance, relies, words)
