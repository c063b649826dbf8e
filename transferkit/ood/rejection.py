"""When a model should answer "unknown": a score, and from its own val images a threshold and candidate sets."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from transferkit import ood
from transferkit.metrics import conformal
from transferkit.metrics.outputs import Outputs
from transferkit.metrics.temperature import fit_temperature, with_temperature
from transferkit.metrics.thresholds import ACCEPTANCE, FEWEST_FOR_THRESHOLD, FEWEST_TO_REJECT
from transferkit.models.stored_model import Thresholds
from transferkit.ood import knn
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.plurals import counted

Floats = npt.NDArray[np.float64]

SCORES = ("knn", "msp")  # with training images to compare with, and without; docs/detectors.md says why
BANK = 1_000  # training images kept to compare with, or ...
BANK_PER_CLASS = 50  # ... so many per class if that is more: as many as kNN looks at
CANDIDATES_MISS = 0.1  # alpha of the candidate sets: they hold the true class for 90 % of images


@dataclass(frozen=True)
class Rejection:
    """What a model needs to answer "unknown"; thresholds are learnt from val, and nothing of it saw an unknown image.

    Attributes:
        n: Images it was learnt from.
        percentiles: 101 scores; percentiles[a] accepts at least a % of these images. Empty below 20 images.
        temperature: Divides the logits before a probability is believed; None where there were none to learn it from.
        candidate_quantile: Largest -log p of a class that belongs to the candidate set; None below 9 images.
        bank: Outputs on some training images, to compare with; None in runs of earlier versions, which scored by msp.
        learnt_from: Which images: "validation", or "training" where each was left out in turn.
    """

    n: int
    percentiles: tuple[float, ...]
    temperature: float | None
    candidate_quantile: float | None
    bank: Outputs | None = field(default=None, compare=False, repr=False)
    learnt_from: str = "validation"

    @property
    def score(self) -> str:
        """The detector that says how unusual an image is, a key of `ood.DETECTORS`."""
        return "msp" if self.bank is None else "knn"

    @cached_property
    def identity(self) -> str:
        """All that decides the scores of outputs: the detector, and the images it compares with."""
        if self.bank is None:
            return self.score
        digest = hashlib.sha256(self.bank.features.tobytes() + self.bank.require_labels().tobytes()).hexdigest()
        return f"{self.score} of {counted(len(self.bank), 'image')} {digest}"

    def scores(self, outputs: Outputs) -> Floats:
        """(N,) how unusual each image is, higher = more.

        Raises:
            TransferkitError: If the outputs are those of another model or, for knn, hold no features.
        """
        return msp(outputs) if self._neighbours is None else self._neighbours(outputs)

    @cached_property
    def _neighbours(self) -> ood.Score | None:
        return None if self.bank is None else ood.fit("knn", self.bank, None, None)

    @property
    def score_words(self) -> str:
        """What a user should know of the score where it is the weaker one; empty where it is not."""
        if self.bank is not None:
            return ""
        return (
            "This run keeps no training images to compare with, so `unknown` goes by the probability alone (msp). "
            "A run made anew goes by the distance to training images (knn)."
        )

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
        position: npt.NDArray[np.int64] = np.searchsorted(self.percentiles, scores, side="right") - 1
        return np.clip(position, 0, 100)

    def candidates(self, outputs: Outputs) -> npt.NDArray[np.bool_]:
        """(N, C) which classes are in the candidate set of each image; all of them where val is too small."""
        quantile = math.inf if self.candidate_quantile is None else self.candidate_quantile
        return conformal.lac_sets(conformal.ConformalCalibration(CANDIDATES_MISS, quantile, self.n, None), outputs)

    def calibrated(self, outputs: Outputs) -> Outputs:
        """The outputs with logits divided by the temperature, as they are where there is none."""
        return outputs if self.temperature is None else with_temperature(outputs, self.temperature)

    @property
    def thresholds(self) -> Thresholds:
        """What is kept of it in model.json."""
        return Thresholds(
            self.score, self.n, self.percentiles, self.temperature, self.candidate_quantile, self.learnt_from
        )

    @classmethod
    def from_thresholds(cls, stored: Thresholds, bank: Outputs | None = None) -> Rejection:
        """What `thresholds` gave, with the training images that are kept beside it.

        Raises:
            TransferkitError: If a newer version wrote it, or the training images are not given.
        """
        if stored.score not in SCORES:
            raise TransferkitError(
                f"The run's thresholds are for the score {stored.score!r}, which this version does not know. "
                "Upgrade with: pip install --upgrade transferkit"
            )
        own_bank = bank if stored.score == "knn" else None
        if stored.score == "knn" and own_bank is None:
            raise TransferkitError(
                "The run goes by distances to training images, and outputs/bank.safetensors, which holds them, is not "
                "there. Copy it back from where the run was made, or make the run again."
            )
        measures = stored.percentiles, stored.temperature, stored.candidate_quantile
        return cls(stored.n, *measures, own_bank, stored.learnt_from)


def fit(
    val: Outputs | None,
    bank: Outputs | None = None,
    val_bank: Outputs | None = None,
    cross_validated: Outputs | None = None,
    is_tuned: bool = False,
) -> Rejection:
    """Thresholds for the score that a bank allows.

    Args:
        val: Outputs of a classifier that has not learnt from these images.
        bank: Outputs on training images to compare with, see `banked`; without, the score is msp.
        val_bank: The bank of the classifier that gave `val`, where the one with `bank` has learnt from val. Its scores
            stand for those of the one with `bank`, which was trained alike on more images, as multiples of how far
            training images are from each other: two trainings may spread their features differently.
        cross_validated: Outputs on training images of heads that have not learnt from them, under a body that has not
            either. With few val images thresholds come from these and from the bank, each image left out in turn.
        is_tuned: Whether the body went on from pretrained weights. With few val images the threshold comes from the
            bank likewise: a tuned body keeps training images as far from each other as new ones are from them;
            docs/detectors.md has the figures.

    Raises:
        TransferkitError: If features or scores are not finite.
    """
    few = val is None or len(val) < FEWEST_TO_REJECT
    is_unlearnt = cross_validated is not None or is_tuned  # what the body makes of training images is as of new ones
    if few and is_unlearnt and bank is not None and len(bank) >= FEWEST_FOR_THRESHOLD:
        return _left_out(bank, val if cross_validated is None else cross_validated)
    if val is None or not len(val):
        return Rejection(0, (), None, None, bank)
    scores = Rejection(0, (), None, None, bank if val_bank is None else val_bank).scores(val)
    if bank is not None and val_bank is not None:
        scores = scores * _wider(bank, val_bank)
    thresholds = (_percentiles(scores), fit_temperature(val), _candidate_quantile(val))
    return Rejection(len(val), *thresholds, bank)


def _left_out(bank: Outputs, unlearnt: Outputs | None) -> Rejection:
    """A threshold from training images alone, each as if it were new: by the conformal rank, since they are few.

    Temperature and candidate sets come from outputs on images that were not learnt from, if there are any.
    """
    percentiles = _percentiles(knn.left_out_distances(bank), unseen=1)
    judged = unlearnt if unlearnt is not None and len(unlearnt) else None
    measures = (fit_temperature(judged), _candidate_quantile(judged)) if judged else (None, None)
    return Rejection(len(bank), percentiles, *measures, bank, "training")


def _wider(bank: Outputs, val_bank: Outputs) -> float:
    """By which factor training images are farther from each other in one bank than in the other."""
    ratio = knn.typical_distance(bank) / max(knn.typical_distance(val_bank), np.finfo(float).tiny)
    return ratio if 0 < ratio < math.inf else 1.0


def banked(train: Outputs, seed: int) -> Outputs | None:
    """The training images to keep: 1,000, or 50 per class if that is more, as evenly over the classes as there are.

    Drawn with the seed, in their order; None where there are none.

    Example:
        >>> names = ("cat", "dog")
        >>> labels = np.array([0] * 40 + [1] * 5_000)
        >>> train = Outputs(np.ones((5_040, 3)), np.ones((5_040, 2)), labels, tuple(map(str, labels)), names)
        >>> np.bincount(banked(train, seed=0).labels).tolist()
        [40, 960]
    """
    if not train.features.size:
        return None
    order = np.random.default_rng(seed).permutation(len(train))
    turn = np.empty(len(train), np.int64)  # an image's number within its class
    for label in range(len(train.class_names)):
        mine = order[train.require_labels()[order] == label]
        turn[mine] = np.arange(len(mine))
    first = order[np.argsort(turn[order], kind="stable")]  # round and round the classes
    chosen = np.sort(first[: max(BANK, BANK_PER_CLASS * len(train.class_names))])
    ids = tuple(train.ids[row] for row in chosen)
    return Outputs(train.features[chosen], train.logits[chosen], train.require_labels()[chosen], ids, train.class_names)


def msp(outputs: Outputs) -> Floats:
    """(N,) minus the log of the largest softmax probability, 0 for every image where there is one class.

    Hendrycks and Gimpel, ICLR 2017 (arXiv:1610.02136); the log keeps apart what rounding would make 1.
    """
    scores: Floats = -outputs.log_probabilities.max(axis=1)
    return scores


def _percentiles(scores: Floats, unseen: int = 0) -> tuple[float, ...]:
    """Order statistics: number a is the ceil(a / 100 * n)-th smallest score, n with images that are still to come."""
    n = len(scores)
    if n < FEWEST_FOR_THRESHOLD:
        return ()
    ranks = np.clip(np.ceil(np.arange(101) / 100 * (n + unseen) - 1e-9).astype(int), 1, n)
    return tuple(np.sort(scores)[ranks - 1].tolist())


def _candidate_quantile(val: Outputs) -> float | None:
    calibration = conformal.calibrate_lac(val, CANDIDATES_MISS)
    return None if calibration.reason else calibration.quantile


def shipped(stored: Thresholds | None, outputs: Callable[[str], Outputs | None]) -> Rejection | None:
    """The thresholds that a run ships; of a run of an earlier version, those that its stored val outputs give.

    Args:
        stored: As the run holds them; None in runs of earlier versions.
        outputs: Reads stored outputs of `val` or of the `bank` of training images; None where there are none.

    Raises:
        TransferkitError: If the training images to compare with are gone, or a newer version wrote the run.
    """
    if stored is not None:
        return Rejection.from_thresholds(stored, outputs("bank"))
    val = outputs("val")
    return None if val is None else fit(val)
