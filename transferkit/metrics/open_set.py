"""What a threshold means where known and unknown images come mixed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from transferkit.metrics.bootstrap import RESAMPLES, percentile_interval
from transferkit.metrics.proportions import Proportion, share
from transferkit.metrics.statistics import Interval
from transferkit.runtime.array_types import Bools, Floats
from transferkit.runtime.errors import TransferkitError


def error_among_accepted(prevalence: float, id_accepted: float, id_error: float, ood_accepted: float) -> float | None:
    """Share of wrong answers among those given; every answer to an unknown image is wrong.

    Args:
        prevalence: Share of unknown images in the world, in [0, 1].
        id_accepted: Share of known images accepted.
        id_error: Share of wrong answers among known images accepted.
        ood_accepted: Share of unknown images accepted.

    Returns:
        In [0, 1]; None if nothing is accepted.

    Raises:
        TransferkitError: If one of them is not in [0, 1].
    """
    _shares(prevalence=prevalence, id_accepted=id_accepted, id_error=id_error, ood_accepted=ood_accepted)
    known, unknown = (1 - prevalence) * id_accepted, prevalence * ood_accepted
    return (known * id_error + unknown) / (known + unknown) if known + unknown else None


def largest_safe_prevalence(target: float, id_accepted: float, id_error: float, ood_accepted: float) -> float:
    """The share of unknown images up to which the error among accepted ones stays at or below the target.

    A_id (r - e) / (A_id (r - e) + A_ood (1 - r)), where `error_among_accepted` equals r; 0 if e >= r.

    Args:
        target: Error r that is acceptable, in [0, 1].
        id_accepted: A_id, share of known images accepted.
        id_error: e, share of wrong answers among known images accepted.
        ood_accepted: A_ood, share of unknown images accepted; 0 makes every prevalence safe.

    Raises:
        TransferkitError: If one of them is not in [0, 1].
    """
    _shares(target=target, id_accepted=id_accepted, id_error=id_error, ood_accepted=ood_accepted)
    slack = id_accepted * (target - id_error)
    return slack / (slack + ood_accepted * (1 - target)) if slack > 0 else 0.0


def _shares(**named: float) -> None:
    for name, value in named.items():
        if not 0 <= value <= 1:
            raise TransferkitError(f"{name} is {value}; expected a share from 0 to 1.")


@dataclass(frozen=True)
class OpenWorld:
    """What a threshold means where known and unknown images come mixed.

    Attributes:
        id_accepted: Share of known images accepted.
        id_error: Share of wrong answers among those; NaN if none is accepted.
        ood_accepted: Share of unknown images accepted.
        error: For each prevalence asked for, the error among accepted images and its interval; None if nothing is.
        safe_prevalence: Up to this share of unknown images the error stays at or below the target.
        safe_interval: Of `safe_prevalence`.
    """

    id_accepted: Proportion
    id_error: Proportion
    ood_accepted: Proportion
    error: dict[float, tuple[float, Interval] | None]
    safe_prevalence: float
    safe_interval: Interval


def open_world(
    id_accepted: Bools,
    id_right: Bools,
    ood_accepted: Bools,
    prevalences: Sequence[float],
    target: float,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> OpenWorld:
    """The error among accepted images at several shares of unknown ones, and the largest share that is safe.

    Both sets are resampled as counts with half an image added to every kind (Jeffreys' prior): a plain bootstrap of 0
    in n accepted unknown images would be sure that none ever is. With many images the two agree.

    Args:
        id_accepted: (n0,) whether each known image is accepted.
        id_right: (n0,) whether its answer is right.
        ood_accepted: (n1,) whether each unknown image is accepted.
        prevalences: Shares of unknown images, in [0, 1].
        target: Acceptable error among accepted images.
        seed: Of the draws.
        resamples: How many.

    Raises:
        TransferkitError: If a set is empty or a share lies outside [0, 1].
    """
    if not len(id_accepted) or len(id_accepted) != len(id_right) or not len(ood_accepted):
        raise TransferkitError(
            f"An open world needs known and unknown images; found {len(id_accepted)} known accepted or not, "
            f"{len(id_right)} right or wrong, and {len(ood_accepted)} unknown."
        )
    known, wrong, unknown = share(id_accepted), share(~id_right[id_accepted]), share(ood_accepted)
    observed = known.value, wrong.value if wrong.n else 0.0, unknown.value
    drawn = _drawn_worlds(known, wrong, unknown, np.random.default_rng(seed), resamples)
    safe = largest_safe_prevalence(target, *observed)
    safe_draws = np.array([largest_safe_prevalence(target, *world) for world in drawn])
    errors = {p: _error_with_interval(p, observed, drawn) for p in prevalences}
    return OpenWorld(known, wrong, unknown, errors, safe, _around(safe, safe_draws))


def _drawn_worlds(
    known: Proportion, wrong: Proportion, unknown: Proportion, generator: np.random.Generator, resamples: int
) -> list[tuple[float, float, float]]:
    """Accepted, error and accepted unknown, as they might be."""
    kinds = generator.dirichlet(
        np.array([known.hits - wrong.hits, wrong.hits, known.n - known.hits]) + 0.5, size=resamples
    )
    accepted_unknown = generator.beta(unknown.hits + 0.5, unknown.n - unknown.hits + 0.5, size=resamples)
    accepted_known = kinds[:, 0] + kinds[:, 1]
    return list(
        zip(accepted_known.tolist(), (kinds[:, 1] / accepted_known).tolist(), accepted_unknown.tolist(), strict=True)
    )


def _error_with_interval(
    prevalence: float, observed: tuple[float, float, float], drawn: list[tuple[float, float, float]]
) -> tuple[float, Interval] | None:
    value = error_among_accepted(prevalence, *observed)
    if value is None:
        return None
    draws = [error_among_accepted(prevalence, *world) for world in drawn]
    return value, _around(value, np.array([d for d in draws if d is not None]))


def _around(value: float, draws: Floats) -> Interval:
    """The middle 95 % of the draws, widened to hold the value itself."""
    interval = percentile_interval(draws)
    return Interval(min(value, interval.low), max(value, interval.high))
