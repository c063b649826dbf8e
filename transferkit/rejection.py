"""When a model should answer "unknown": a threshold, a temperature and candidate sets, all from its own val images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from transferkit.errors import TransferkitError
from transferkit.metrics import conformal
from transferkit.metrics.temperature import fit_temperature
from transferkit.outputs import Outputs

Floats = npt.NDArray[np.float64]

SCORE = "msp"
ACCEPTANCE = 0.95  # of images like those of val; the field's convention, Hendrycks and Gimpel 2017 (arXiv:1610.02136)
FEWEST_FOR_THRESHOLD = 20  # val images; with fewer, 95 % of them is all of them
CANDIDATES_MISS = 0.1  # alpha of the candidate sets: they hold the true class for 90 % of images


@dataclass(frozen=True)
class Rejection:
    """What a model needs to answer "unknown", learnt from val alone; nothing of it saw an unknown image.

    Attributes:
        n: Val images it was learnt from.
        percentiles: 101 scores; percentiles[a] accepts at least a % of the val images. Empty below 20 images.
        temperature: Divides the logits before a probability is believed; None below 100 images.
        candidate_quantile: Largest -log p of a class that belongs to the candidate set; None below 9 images.
    """

    n: int
    percentiles: tuple[float, ...]
    temperature: float | None
    candidate_quantile: float | None

    @property
    def reason(self) -> str:
        """Why there is no threshold; empty where there is one."""
        if self.percentiles:
            return ""
        return f"the run has {self.n} val images, and a threshold needs at least {FEWEST_FOR_THRESHOLD}"

    def threshold(self, acceptance: float = ACCEPTANCE) -> float | None:
        """Scores up to this are accepted, and so is this share of images like those of val, in whole per cent.

        Raises:
            TransferkitError: If the share is not in [0.5, 1].
        """
        if not 0.5 <= acceptance <= 1:
            raise TransferkitError(f"Acceptance is {acceptance}; expected a share in [0.5, 1], such as 0.95.")
        return self.percentiles[math.ceil(100 * acceptance - 1e-9)] if self.percentiles else None

    def percentile(self, scores: Floats) -> npt.NDArray[np.int64]:
        """(N,) per cent of the val images that are no more unusual than each score, rounded down."""
        found: npt.NDArray[np.int64] = np.searchsorted(self.percentiles, scores, side="right") - 1
        return np.clip(found, 0, 100)

    def candidates(self, outputs: Outputs) -> npt.NDArray[np.bool_]:
        """(N, C) which classes are in the candidate set of each image; all of them where val is too small."""
        quantile = math.inf if self.candidate_quantile is None else self.candidate_quantile
        return conformal.lac_sets(conformal.Calibration(CANDIDATES_MISS, quantile, self.n, None), outputs)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "score": SCORE,
            "n": self.n,
            "percentiles": list(self.percentiles),
            "temperature": self.temperature,
            "candidate_quantile": self.candidate_quantile,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any] | None) -> Rejection | None:
        """What `as_dict` gave; None for a run made before there were thresholds."""
        if not values or values.get("score") != SCORE:
            return None
        return cls(values["n"], tuple(values["percentiles"]), values["temperature"], values["candidate_quantile"])


def fit(val: Outputs | None) -> Rejection:
    """Thresholds from the outputs of a classifier that has not learnt from these val images."""
    if val is None or not len(val):
        return Rejection(0, (), None, None)
    return Rejection(len(val), _percentiles(score(val)), fit_temperature(val), _candidate_quantile(val))


def score(outputs: Outputs) -> Floats:
    """(N,) how unusual each image is, higher = more: minus the log of the largest softmax probability.

    Hendrycks and Gimpel, ICLR 2017 (arXiv:1610.02136); the log keeps apart what rounding would make 1.
    """
    scores: Floats = -outputs.log_probabilities.max(axis=1)
    return scores


def _percentiles(scores: Floats) -> tuple[float, ...]:
    """Order statistics: number a is the ceil(a / 100 * n)-th smallest score."""
    n = len(scores)
    if n < FEWEST_FOR_THRESHOLD:
        return ()
    ranks = np.maximum(np.ceil(np.arange(101) / 100 * n - 1e-9).astype(int), 1)
    return tuple(np.sort(scores)[ranks - 1].tolist())


def _candidate_quantile(val: Outputs) -> float | None:
    found = conformal.calibrate_lac(val, CANDIDATES_MISS)
    return None if found.reason else found.quantile
