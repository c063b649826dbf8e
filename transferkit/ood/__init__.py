"""The menu of out-of-distribution detectors: each is a module with `fit(train, val, head, settings) -> Score`.

Scores: larger = more out-of-distribution, everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType
from typing import TYPE_CHECKING

from transferkit.metrics.outputs import Outputs
from transferkit.ood import (
    energy,
    ensemble_rank,
    entropy,
    fdbd,
    gen,
    knn,
    margin,
    maxlogit,
    mds,
    mds_plus_plus,
    msp,
    react,
    rmds,
    rmds_plus_plus,
    she,
    vim,
)
from transferkit.ood.contract import NotApplicable, OodSettings, Score
from transferkit.runtime.errors import TransferkitError, did_you_mean

if TYPE_CHECKING:
    from transferkit.models.linear import LinearHead

    DEFAULTS: tuple[str, ...]

__all__ = [
    "DEFAULTS",
    "DETECTORS",
    "SUMMARY_ORDER",
    "SUMMARY_SCORE",
    "NotApplicable",
    "OodSettings",
    "Score",
    "fit",
    "fit_all",
    "in_words",
    "summary_score",
]

DETECTORS: dict[str, ModuleType] = {
    "msp": msp,
    "maxlogit": maxlogit,
    "energy": energy,
    "entropy": entropy,
    "margin": margin,
    "gen": gen,
    "knn": knn,
    "mds": mds,
    "rmds": rmds,
    "mds++": mds_plus_plus,
    "rmds++": rmds_plus_plus,
    "vim": vim,
    "react": react,
    "she": she,
    "fdbd": fdbd,
    "ensemble-rank": ensemble_rank,
}
SUMMARY_SCORE = "ensemble-rank"
SUMMARY_ORDER = (SUMMARY_SCORE, "knn", "mds", "msp")  # the first that applies speaks for all; never the best one


def __getattr__(name: str) -> tuple[str, ...]:
    """`DEFAULTS`: the detectors of a report, all on the menu but those whose module says `IS_DEFAULT = False`."""
    if name != "DEFAULTS":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return tuple(name for name, module in DETECTORS.items() if getattr(module, "IS_DEFAULT", True))


def fit(
    name: str, train: Outputs, val: Outputs | None, head: LinearHead | None, settings: OodSettings | None = None
) -> Score:
    """One detector, fitted.

    Args:
        name: A key of `DETECTORS`.
        train: Outputs of the training images without augmentation.
        val: Outputs of in-distribution images that trained nothing; only the rank ensemble needs them.
        head: The model's last layer, None if it is not linear.
        settings: The defaults if None.

    Raises:
        NotApplicable: If it says nothing about this model or these images; the message is the reason.
        TransferkitError: If there is no such detector, or outputs are not finite.
    """
    if name not in DETECTORS:
        raise TransferkitError(f"Unknown detector {name!r}. {did_you_mean(name, DETECTORS, limit=len(DETECTORS))}")
    score: Score = DETECTORS[name].fit(train, val, head, settings or OodSettings())
    return score


def fit_all(
    names: Iterable[str],
    train: Outputs,
    val: Outputs | None,
    head: LinearHead | None,
    settings: OodSettings | None = None,
) -> tuple[dict[str, Score], dict[str, str]]:
    """Several detectors; the members of the rank ensemble are fitted once.

    Args:
        names: Keys of `DETECTORS`; the answer keeps their order.
        train: As in `fit`.
        val: As in `fit`.
        head: As in `fit`.
        settings: As in `fit`.

    Returns:
        Those that apply, and the reasons of those that do not, by name.

    Raises:
        TransferkitError: As `fit`, but never `NotApplicable`.
    """
    names = tuple(names)
    scores: dict[str, Score] = {}
    reasons: dict[str, str] = {}
    for name in _ensemble_last(names):
        try:
            if name == SUMMARY_SCORE:
                scores[name] = ensemble_rank.combine(scores, reasons, train, val)
            else:
                scores[name] = fit(name, train, val, head, settings)
        except NotApplicable as reason:
            reasons[name] = str(reason)
    return {name: scores[name] for name in names if name in scores}, {
        name: reasons[name] for name in names if name in reasons
    }


def _ensemble_last(names: tuple[str, ...]) -> list[str]:
    """Each name once; before the ensemble its members, asked for or not."""
    if SUMMARY_SCORE not in names:
        return list(dict.fromkeys(names))
    single = [name for name in (*names, *ensemble_rank.MEMBERS) if name != SUMMARY_SCORE]
    return [*dict.fromkeys(single), SUMMARY_SCORE]


def in_words(name: str) -> str:
    """What a detector goes by, in a line; empty where it is not on this menu, as in reports of another version.

    Example:
        >>> in_words("knn")
        'how far the nearest training images are'
    """
    module = DETECTORS.get(name)
    return "" if module is None else str(module.IN_WORDS)


def summary_score(names: Iterable[str]) -> str:
    """The detector that stands for all of them in a summary: the first of `SUMMARY_ORDER` that was fitted.

    Example:
        >>> summary_score(["msp", "knn"]), summary_score(["knn", "ensemble-rank"])
        ('knn', 'ensemble-rank')

    Raises:
        TransferkitError: If none of them was.
    """
    fitted = set(names)
    for name in SUMMARY_ORDER:
        if name in fitted:
            return name
    raise TransferkitError(f"No score can stand for all; expected one of {', '.join(SUMMARY_ORDER)}.")
