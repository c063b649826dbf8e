"""Mean rank of msp, knn and vim among the validation images: transferkit's one number, chosen before any result.

A rank is the share of validation images that score below, ties counted half; an image beyond all of them has rank 1.
One score that looks at probabilities, one at neighbours and one at directions never seen: where one is blind, another
often sees (OpenOOD v1.5: none of them is best for every architecture). No paper; nothing is tuned.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from transferkit.metrics.outputs import Outputs
from transferkit.metrics.thresholds import FEWEST_FOR_THRESHOLD
from transferkit.ood import knn, msp, vim
from transferkit.ood.contract import Floats, NotApplicable, OodSettings, Score, fitted

if TYPE_CHECKING:
    from transferkit.models.linear import LinearHead

MEMBERS = {"msp": msp, "knn": knn, "vim": vim}
IN_WORDS = "the mean rank by msp, knn and vim"


def fit(train: Outputs, val: Outputs | None, head: LinearHead | None, settings: OodSettings) -> Score:
    """Fit the members and rank the validation images.

    Raises:
        NotApplicable: If there are fewer than 20 validation images, or fewer than two members apply.
    """
    scores, reasons = {}, {}
    for name, module in MEMBERS.items():
        try:
            scores[name] = module.fit(train, val, head, settings)
        except NotApplicable as reason:
            reasons[name] = str(reason)
    return combine(scores, reasons, train, val)


def combine(scores: Mapping[str, Score], reasons: Mapping[str, str], train: Outputs, val: Outputs | None) -> Score:
    """The ensemble of members fitted before.

    Args:
        scores: Detectors that apply, by name; those that are no members are not used.
        reasons: Why the others do not apply.
        train: What they were fitted on.
        val: In-distribution images that trained nothing.

    Raises:
        NotApplicable: As `fit`.
    """
    members = {name: scores[name] for name in MEMBERS if name in scores}
    if val is None or len(val) < FEWEST_FOR_THRESHOLD:
        raise NotApplicable(
            f"It ranks against at least {FEWEST_FOR_THRESHOLD} validation images; found {len(val or ())}."
        )
    if len(members) < 2:
        raise NotApplicable(f"It averages two scores or more, and only {', '.join(members) or 'none'} applies.")
    known = {name: np.sort(score(val)) for name, score in members.items()}

    def mean_rank(outputs: Outputs) -> Floats:
        total = sum((ranks(score(outputs), known[name]) for name, score in members.items()), np.zeros(len(outputs)))
        return total / len(members)

    return fitted("ensemble-rank", train, mean_rank, _notes(members, reasons))


def ranks(scores: Floats, ascending: Floats) -> Floats:
    """(N,) in [0, 1], share of the sorted validation scores below each score, ties counted half."""
    below, up_to = (np.searchsorted(ascending, scores, side=side) for side in ("left", "right"))
    shares: Floats = (below + up_to) / (2 * len(ascending))
    return shares


def _notes(members: Mapping[str, Score], reasons: Mapping[str, str]) -> list[str]:
    if len(members) == len(MEMBERS):
        return []
    off = " ".join(f"{name} is off: {reasons[name]}" for name in MEMBERS if name not in members)
    return [f"mean rank of {' and '.join(members)} only. {off}"]
