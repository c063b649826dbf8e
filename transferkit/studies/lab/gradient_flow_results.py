"""A measurement of gradient flow, as gradient-flow.json holds it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from transferkit.runs.result_folders import GRADIENT_FLOW
from transferkit.runtime.records import Measure, read_record, write_record

Rows = tuple[tuple[float, ...], ...]  # of each seed: a number per layer


@dataclass(frozen=True)
class OverSeeds:
    """One number per seed: their geometric mean, the least and the greatest."""

    mean: float
    low: float
    high: float
    per_seed: tuple[float, ...]


@dataclass(frozen=True)
class MomentNorms:
    """The gradient norms of one network at one moment.

    Attributes:
        norm: Per layer, of each seed.
        relative: Divided by the norm of the layer's weights.
        first_over_last: The first third of the layers over the last third, of the relative ones.
    """

    norm: Rows
    relative: Rows
    first_over_last: OverSeeds


@dataclass(frozen=True)
class NetworkFlow:
    """One network over all seeds.

    Attributes:
        layers: Names, from the image to the head.
        shapes: Of their weights.
        loss: Of the last epoch, per seed.
    """

    layers: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    loss: tuple[Measure, ...]
    start: MomentNorms
    trained: MomentNorms

    @property
    def moments(self) -> dict[str, MomentNorms]:
        """Before training and after it, by name."""
        return {"start": self.start, "trained": self.trained}


@dataclass(frozen=True)
class TwinComparison:
    """The early norms of a plain network over those of its residual twin, at one moment, over seeds."""

    plain: str
    residual: str
    moment: str
    mean: float
    low: float
    high: float
    per_seed: tuple[float, ...]


@dataclass(frozen=True)
class GradientFlow:
    """What was measured, of all networks.

    Attributes:
        schema: Of gradient-flow.json.
        n: Training images on which gradients were measured.
        train_images: On which the networks were trained.
        size_px: Side of the images.
    """

    schema: int
    data: str
    n: int
    train_images: int
    size_px: int
    epochs: int
    seeds: int
    device: str
    command: str
    networks: dict[str, NetworkFlow]
    comparisons: tuple[TwinComparison, ...]


def read_gradient_flow(folder: Path) -> GradientFlow:
    """The measurement in a folder.

    Raises:
        TransferkitError: If gradient-flow.json is damaged; says where.
    """
    return read_record(folder / GRADIENT_FLOW.result, GradientFlow)


def write_gradient_flow_result(folder: Path, flow: GradientFlow) -> None:
    """The measurement into a folder."""
    write_record(folder / GRADIENT_FLOW.result, flow)
