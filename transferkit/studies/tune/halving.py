"""Successive halving: many short trainings, and longer ones of the best (Jamieson and Talwalkar 2016)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from transferkit.recipe.budget import Budget
from transferkit.runtime.errors import TransferkitError

Setting = TypeVar("Setting")


@dataclass(frozen=True)
class Rung:
    """Trainings of one length.

    Attributes:
        number: Counted from 0.
        length: Of each, complete with its own schedule.
        settings: How many take part.
    """

    number: int
    length: Budget
    settings: int


def rungs(settings: int, length: Budget, eta: int) -> list[Rung]:
    """The trainings before the one of full length: all at 1/eta^2 of it, one in eta of them at 1/eta.

    Jamieson and Talwalkar, AISTATS 2016 (arXiv:1502.07943), algorithm 1, with two rungs whatever the number of
    settings: with more, the first ones would be too short to tell anything about long trainings. Each training runs its
    whole schedule, as in Li et al. 2018 (Hyperband, arXiv:1603.06560) where a training cannot be continued.

    Raises:
        TransferkitError: If the length is counted by a clock, which counts no steps.

    Example:
        >>> [(rung.settings, rung.length.text) for rung in rungs(24, Budget("epochs", 30), 3)]
        [(24, '3epochs'), (8, '10epochs')]
    """
    if length.kind not in ("epochs", "steps"):
        raise TransferkitError(
            f"tune shortens trainings, and {length.text} is no number of epochs or steps. Use --epochs 10, or "
            "--budget 500steps."
        )
    powers = [2, 1] if settings > eta else [1]
    counts = [math.ceil(settings / eta ** (powers[0] - power)) for power in powers]
    lengths = [max(1, round(length.amount / eta**power)) for power in powers]
    if len(set(lengths)) < len(lengths):
        counts, lengths = counts[:1], lengths[:1]
    return [
        Rung(number, Budget(length.kind, amount), count)
        for number, (count, amount) in enumerate(zip(counts, lengths, strict=True))
    ]


def best(settings: Sequence[Setting], badness: Sequence[tuple[bool, float, float]], count: int) -> list[Setting]:
    """So many settings with the least badness, best first; at a tie the earlier one.

    Example:
        >>> best(["a", "b", "c"], [(False, -0.7, 0.9), (False, -0.8, 0.9), (False, -0.8, 0.5)], 2)
        ['c', 'b']
    """
    order = sorted(range(len(settings)), key=lambda index: badness[index])
    return [settings[index] for index in order[:count]]
