"""A classifier with all that `predict` says of an image inside: logits, probabilities, and how unusual it is."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from transferkit.deploy.export.source import ExportSource
from transferkit.models.classifier import Classifier
from transferkit.models.preparation import as_unit_range, centre_crop, interpolate
from transferkit.ood import knn
from transferkit.ood.rejection import Rejection
from transferkit.runtime.errors import MachineError, TransferkitError

OUTPUTS = ("logits", "probability", "unknown_score", "unknown_threshold", "features")
EXAMPLE = (2, 3, 40, 48)  # (N, 3, H, W) of the images by which a graph is traced
CHECKED = (EXAMPLE, (3, 3, 96, 64), (1, 3, 300, 200))  # other batches, other sides
TOLERANCE = 1e-3  # of the largest value of an output


class Answering(nn.Module):
    """uint8 images (N, 3, H, W), RGB, of any size, to what `OUTPUTS` names, in that order.

    `logits` (N, C); `probability` (N, C), the softmax of the logits divided by the temperature that val gave;
    `unknown_score` (N,), higher = more unusual, as the run's `Rejection` scores; `unknown_threshold` (1,), above which
    an image counts as unknown, infinite where the run has none; `features` (N, D), the head's input.
    """

    def __init__(self, classifier: Classifier, rejection: Rejection | None) -> None:
        super().__init__()
        self.classifier = classifier
        self.temperature = (rejection.temperature if rejection else None) or 1.0
        threshold = rejection.threshold() if rejection else None
        self.register_buffer("threshold", torch.tensor([math.inf if threshold is None else threshold]).float())
        self.unusual: nn.Module = LeastProbable()
        if rejection is not None and rejection.bank is not None:
            self.unusual = FarFromNeighbours(rejection.bank.features)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """The outputs, in the order of `OUTPUTS`."""
        features = self._features(self._prepared(images))
        logits = self.classifier.logits(features)
        probability = (logits / self.temperature).softmax(dim=1)
        threshold = self.get_buffer("threshold") * 1.0  # a graph may give back no constant of its own
        return logits, probability, self.unusual(features, logits), threshold, features

    def _prepared(self, images: Tensor) -> Tensor:
        """As the classifier prepares them, but without a way around the resize, which a graph would hold as a rule."""
        spec = self.classifier.input_spec
        unit = as_unit_range(images, len(spec.mean))
        whole = centre_crop(unit, spec.crop) if spec.crop < 1 else unit
        resized = interpolate(whole, spec.size, spec.interpolation)
        return (resized - self.classifier.get_buffer("mean")) / self.classifier.get_buffer("std")

    def _features(self, prepared: Tensor) -> Tensor:
        copies = self.classifier.averaging.copies(prepared)
        return torch.stack([weight * self.classifier.body(copy).float() for weight, copy in copies]).sum(0)


class LeastProbable(nn.Module):
    """Minus the log of the largest probability, (N,): `ood.rejection.msp` as a graph."""

    def forward(self, features: Tensor, logits: Tensor) -> Tensor:  # noqa: ARG002 - one signature for both
        """(N,), higher = more unusual."""
        return -logits.log_softmax(dim=1).amax(dim=1)


class FarFromNeighbours(nn.Module):
    """Distance to the k-th nearest training image, (N,) in [0, 2]: `ood.knn` as a graph."""

    def __init__(self, bank: np.ndarray[Any, Any]) -> None:
        super().__init__()
        rows = knn.unit_length(torch.from_numpy(np.asarray(bank, np.float64))).float()
        self.register_buffer("bank", rows)
        self.k = knn.neighbours(len(rows))

    def forward(self, features: Tensor, logits: Tensor) -> Tensor:  # noqa: ARG002 - one signature for both
        """(N,), higher = more unusual."""
        bank, rows = self.get_buffer("bank"), knn.unit_length(features)
        nearness = rows @ bank.T - bank.square().sum(dim=1) / 2
        nearest = nearness.topk(self.k, dim=1).indices[:, -1]
        distance: Tensor = torch.linalg.vector_norm(rows - bank[nearest], dim=1)
        return distance


def dynamic_shapes() -> tuple[dict[int, Any]]:
    """Batch, height and width stay open in a graph."""
    free: Any = torch.export.Dim.DYNAMIC
    return ({0: free, 2: free, 3: free},)


def answering_of(source: ExportSource) -> Answering:
    """What a file of this run answers with."""
    return Answering(source.classifier, source.rejection).eval()


def traced(source: ExportSource, kind: str, trace: Callable[[Answering, tuple[Tensor]], Any]) -> Any:
    """What `trace` makes of the run's answering and of example images, which leave batch, height and width open.

    Args:
        source: The run.
        kind: Of the file, in words.
        trace: Takes the module and its arguments.

    Raises:
        TransferkitError: If it cannot be traced or translated.
    """
    model = answering_of(source)
    images = torch.from_numpy(example_images(EXAMPLE, len(source.classifier.input_spec.mean)))
    try:
        return trace(model, (images,))
    except Exception as error:
        raise cannot_be_written(source.name, kind, error) from error


def answer_lines(source: ExportSource, call: str) -> str:
    """Lines of Python that take the answers from a call, and what goes in and comes out."""
    return (
        f"{', '.join(OUTPUTS)} = {call}\n"
        f"# images: uint8 {images_in_words(source.classifier)}; unknown where the score is above the threshold"
    )


def images_in_words(classifier: Classifier) -> str:
    """The images that a graph takes: their axes, and what the bands are."""
    bands = len(classifier.input_spec.mean)
    meant = "RGB" if bands == 3 else "the bands of the run's own images in their order"
    return f"(N, {bands}, H, W), {meant}, of any size"


def example_images(shape: tuple[int, ...], bands: int = 3) -> np.ndarray[Any, Any]:
    """Random pixels of a shape (N, 3, H, W), or of other bands."""
    shape = (shape[0], bands, *shape[2:])
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def reason_of(error: Exception) -> str:
    """The first line of what a compiler says."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def cannot_be_written(name: str, kind: str, error: Exception) -> TransferkitError:
    """What a user reads where a network cannot be traced or translated."""
    reason = reason_of(error)
    return TransferkitError(
        f"{name} cannot be written as {kind}: {reason} Use --to weights, or transferkit.load(RUN) in Python."
    )


def require_equal(model: Answering, answer: Any, kind: str) -> None:
    """Ask a written graph about random images of several sizes, and refuse it if it answers otherwise than the model.

    Args:
        model: What was written.
        answer: uint8 images (N, 3, H, W) to the arrays that `OUTPUTS` names.
        kind: Of graph, in words.

    Raises:
        MachineError: Names the shape, the output and the difference.
    """
    for shape in CHECKED:
        images = example_images(shape, len(model.classifier.input_spec.mean))
        with torch.inference_mode():
            expected = [output.numpy() for output in model(torch.from_numpy(images))]
        for name, given, wanted in zip(OUTPUTS, answer(images), expected, strict=True):
            difference = _difference(np.asarray(given), wanted)
            if not difference <= TOLERANCE * max(1.0, float(np.abs(wanted[np.isfinite(wanted)]).max(initial=0))):
                raise MachineError(
                    f"The {kind} differs from the model by {difference:.2g} in {name} on images {shape}, so it was "
                    "not kept. Use --to weights, and please report it."
                )


def _difference(given: np.ndarray[Any, Any], wanted: np.ndarray[Any, Any]) -> float:
    """The largest difference; two infinities of the same sign do not differ."""
    return float(np.where(given == wanted, 0.0, np.abs(given - np.where(np.isfinite(wanted), wanted, 0))).max())
