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
    """The trainings before the chosen one: all at 1/eta^2 of its length, some at 1/eta, two at all of it.

    Jamieson and Talwalkar, AISTATS 2016 (arXiv:1502.07943), algorithm 1, with two rungs below the full length whatever
    the number of settings: with more, the first ones would be too short to tell anything about long trainings. Two in
    eta^2 reach the second. Each training runs its whole schedule, as in Li et al. 2018 (Hyperband, arXiv:1603.06560)
    where a training cannot be continued. Below 2 eta^2 settings the two of full length would cost most of the search:
    there are none.

    Raises:
        TransferkitError: If the length is counted by a clock, which counts no steps.

    Example:
        >>> [(rung.settings, rung.length.text) for rung in rungs(24, Budget("epochs", 30), 3)]
        [(24, '3epochs'), (6, '10epochs'), (2, '30epochs')]
    """
    if length.kind not in ("epochs", "steps"):
        raise TransferkitError(
            f"tune shortens trainings, and {length.text} is no number of epochs or steps. Use --epochs 10, or "
            "--budget 500steps."
        )
    counts = {2: settings, 1: max(2, math.ceil(2 * settings / eta**2))} if settings > eta else {1: settings}
    if settings >= 2 * eta**2:
        counts[0] = 2
    planned: dict[int, int] = {}  # settings by length: where two lengths are the same, one rung is enough
    for power, count in counts.items():
        planned.setdefault(max(1, round(length.amount / eta**power)), count)
    return [Rung(number, Budget(length.kind, amount), count) for number, (amount, count) in enumerate(planned.items())]


def best_first(settings: Sequence[Setting], badness: Sequence[tuple[bool, float, float]]) -> list[Setting]:
    """By turns the most accurate that is left and that of the lowest loss; at a tie the earlier one.

    After few steps neither tells which will be best in the end. A setting that hardly moves keeps the accuracy of the
    start, where a probe's head is; high rates bring the loss down first, on images unlike those of the weights the
    accuracy last.

    Args:
        settings: What was tried.
        badness: Of each: whether it came to no end, minus its accuracy, its loss.

    Example:
        >>> best_first(["a", "b", "c"], [(False, -0.8, 2.0), (False, -0.7, 1.9), (False, -0.6, 1.5)])
        ['a', 'c', 'b']
    """
    order = range(len(settings))
    by_accuracy = sorted(order, key=lambda index: badness[index])
    by_loss = sorted(order, key=lambda index: (badness[index][0], badness[index][2], badness[index][1]))
    turns = [index for pair in zip(by_accuracy, by_loss, strict=True) for index in pair]
    return [settings[index] for index in dict.fromkeys(turns)]
