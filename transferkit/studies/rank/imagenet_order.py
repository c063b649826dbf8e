"""Would a plain list by ImageNet accuracy have ordered the backbones as a probe on these images does?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from transferkit.studies.rank.results import ImagenetOrder, RankedBackbone

FEWEST = 3  # backbones; the order of two is right or wrong, which says nothing about a list


def imagenet_order(rows: Sequence[RankedBackbone]) -> ImagenetOrder | None:
    """How far the order by published ImageNet accuracy agrees with that by probe; None of fewer than three.

    Kendall's tau-b counts pairs in the same order minus pairs in the other one; the weighted tau counts pairs near the
    top more (Vigna 2015, hyperbolic and additive, as scipy has it).

    Args:
        rows: Best probe first; those without a published accuracy are not in the list.
    """
    listed = [row for row in rows if row.top1 is not None]
    if len(listed) < FEWEST:
        return None
    from scipy import stats

    published, probed = [float(row.top1 or 0) for row in listed], [row.accuracy for row in listed]
    first = max(listed, key=lambda row: row.top1 or 0)
    best = max(listed, key=lambda row: row.accuracy)
    return ImagenetOrder(
        n=len(listed),
        tau=_finite(stats.kendalltau(published, probed).statistic),
        weighted_tau=_finite(stats.weightedtau(published, probed).statistic),
        first=first.label,
        lost=best.accuracy - first.accuracy,
    )


def _finite(value: Any) -> float | None:
    """A number; None where all accuracies are equal, so that there is no order."""
    return None if math.isnan(value) else float(value)


def order_in_words(order: ImagenetOrder | None, rows: Sequence[RankedBackbone]) -> str:
    """What to think of a list by ImageNet accuracy, in two sentences."""
    listed = sum(row.top1 is not None for row in rows)
    if order is None:
        return (
            f"By ImageNet accuracy alone: {listed} of {len(rows)} backbones have a published one for their very "
            f"weights; an order takes {FEWEST}."
        )
    if order.tau is None or order.weighted_tau is None:
        return f"By ImageNet accuracy alone: all {order.n} accuracies are equal, so there is no order to compare."
    first = f"its first, {order.first}, " + (
        "is also the best here."
        if order.lost <= 0
        else f"is {100 * order.lost:.1f} points below the best of these here."
    )
    return (
        f"A list by ImageNet accuracy alone would have ordered {order.n} of {len(rows)} with Kendall's tau "
        f"{order.tau:.2f} (weighted towards the top {order.weighted_tau:.2f}; 1 is the same order, 0 chance); {first}"
    )
