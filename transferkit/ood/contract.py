"""What every detector of out-of-distribution images keeps to: fitted once, it scores any image set."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from transferkit.metrics.outputs import Outputs
from transferkit.runtime.errors import TransferkitError

if TYPE_CHECKING:
    from transferkit.models.linear import LinearHead

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[Any]  # (N, D) or (N, C) of any floating type
Head = tuple[Tensor, Tensor]  # weight (C, D) and bias (C,), float64

CHUNK_ROWS = 4096  # rows held in float64 at once
HEAD_ROWS = 64  # training images on which head and stored logits are compared
HEAD_TOLERANCE = 0.05  # of the largest logit; bfloat16 inference differs by less than 0.01


class NotApplicable(TransferkitError):
    """This detector says nothing about this model or these images; the message is the reason."""


@dataclass(frozen=True)
class OodSettings:
    """What may be chosen; constants of the formulas stand in the detectors and are not tuned.

    Attributes:
        seed: Draws the training images that kNN keeps.
        max_train_rows: How many training images kNN compares with.
        device: Where kNN multiplies matrices, "cpu" or "cuda".
    """

    seed: int = 0
    max_train_rows: int = 50_000
    device: str = "cpu"


@dataclass(frozen=True)
class Score:
    """A fitted detector: call it with the outputs of an image set.

    It remembers its answers for as long as those outputs live, so that the rank ensemble costs nothing twice.

    Attributes:
        name: Its key in the menu.
        function: Outputs to (N,) scores.
        shape: (C, D), logits and features per image that it was fitted on.
        notes: What the reader of the scores must know, e.g. classes left out.
    """

    name: str
    function: Callable[[Outputs], Floats]
    shape: tuple[int, int]
    notes: tuple[str, ...] = ()
    _known: dict[int, tuple[weakref.ref[Outputs], Floats]] = field(default_factory=dict, repr=False, compare=False)

    def __call__(self, outputs: Outputs) -> Floats:
        """(N,) float64, read-only; larger = more out-of-distribution.

        Raises:
            TransferkitError: If outputs come from another model, or inputs or scores are not finite; says how many.
        """
        key = id(outputs)
        if key not in self._known or self._known[key][0]() is not outputs:
            scores = self._scores(outputs)
            self._known[key] = (weakref.ref(outputs, lambda _: self._known.pop(key, None)), scores)
        return self._known[key][1]

    def _scores(self, outputs: Outputs) -> Floats:
        shape = _shape(outputs)
        if shape != self.shape:
            raise TransferkitError(
                f"{self.name} was fitted on {self.shape[0]} logits and {self.shape[1]} features per image; these "
                f"outputs have {shape[0]} and {shape[1]}. Both must come from the same model."
            )
        require_finite(outputs.logits, "logits", outputs.ids)
        require_finite(outputs.features, "features", outputs.ids)
        scores = np.asarray(self.function(outputs), dtype=np.float64) + 0.0  # a copy, without -0.0
        require_finite(scores[:, None], f"{self.name} scores", outputs.ids)
        scores.flags.writeable = False
        return scores


def fitted(
    name: str, train: Outputs, function: Callable[[Outputs], Floats], notes: tuple[str, ...] | list[str] = ()
) -> Score:
    """The score of a detector fitted on `train`."""
    return Score(name, function, _shape(train), tuple(notes))


def _shape(outputs: Outputs) -> tuple[int, int]:
    return outputs.logits.shape[1], outputs.features.shape[1]


# ---- what a detector asks of the outputs ----


def require_finite(rows: Rows, what: str, ids: tuple[str, ...]) -> None:
    """Raise if a number is NaN or infinite; names how many images and the first.

    Raises:
        TransferkitError: With that count; such images are never dropped.
    """
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(bad):
        raise TransferkitError(
            f"The {what} of {len(bad)} of {len(rows)} images are NaN or infinite, first {ids[bad[0]]}. "
            "Run the network again with --precision fp32; if they stay, its weights are damaged."
        )


def require_several_classes(outputs: Outputs) -> None:
    """Refuse a single class."""
    if outputs.logits.shape[1] < 2:
        raise NotApplicable("With one class the softmax is 1 for every image; only knn and mds say something.")


def require_more_than_msp(outputs: Outputs) -> None:
    """Refuse one class, and two, where this score is a monotone function of msp."""
    require_several_classes(outputs)
    if outputs.logits.shape[1] == 2:
        raise NotApplicable("With two classes it orders the images as msp does; msp is shown.")


def training_features(train: Outputs) -> Rows:
    """(N, D) features to fit on, at least one row, finite.

    Raises:
        NotApplicable: If there are no images or no features.
        TransferkitError: If features are not finite.
    """
    if not train.features.size:
        raise NotApplicable("It is fitted on the features of training images, and there are none.")
    require_finite(train.features, "training features", train.ids)
    return train.features


def linear_head(head: LinearHead | None, train: Outputs) -> Head:
    """Weight (C, D) and bias (C,) in float64.

    Raises:
        NotApplicable: If the model has no linear head.
        TransferkitError: If the head is not the one that made the stored logits.
    """
    if head is None:
        raise NotApplicable("It needs the weights of a linear head, and this model's head is not linear.")
    weight, bias = head.weight.detach().cpu().double(), head.bias.detach().cpu().double()
    if tuple(weight.shape) != _shape(train):
        raise TransferkitError(
            f"The head maps {weight.shape[1]} features to {weight.shape[0]} logits, but the outputs have "
            f"{train.features.shape[1]} features and {train.logits.shape[1]} logits. Give the head of the same run."
        )
    _require_same_logits(weight, bias, train)
    return weight, bias


def _require_same_logits(weight: Tensor, bias: Tensor, train: Outputs) -> None:
    stored = as_float64(train.logits[:HEAD_ROWS])
    difference = (as_float64(train.features[:HEAD_ROWS]) @ weight.T + bias - stored).abs()
    if difference.numel() and difference.max() > HEAD_TOLERANCE * max(1.0, float(stored.abs().max())):
        raise TransferkitError(
            f"The head does not give the stored logits; they differ by up to {float(difference.max()):.3g}. "
            "Give the head of the same run, and logits as they were, without temperature."
        )


# ---- rows in float64, a chunk at a time ----


def as_float64(rows: Rows) -> Tensor:
    """The rows as a tensor of their own."""
    return torch.from_numpy(np.array(rows, dtype=np.float64))


def chunks(rows: Rows) -> Iterator[Tensor]:
    """The rows in float64, at most `CHUNK_ROWS` at once."""
    return (as_float64(rows[start : start + CHUNK_ROWS]) for start in range(0, len(rows), CHUNK_ROWS))


def row_by_row(function: Callable[[Tensor], Tensor], rows: Rows) -> Floats:
    """(N,) values of a function that maps (n, D) float64 to (n,), a chunk at a time."""
    values = [function(chunk) for chunk in chunks(rows)]
    scores: Floats = torch.cat(values).numpy() if values else np.empty(0)
    return scores
