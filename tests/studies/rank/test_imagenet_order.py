"""Would a list by ImageNet accuracy have done? Worked by hand."""

from __future__ import annotations

import pytest

from transferkit.models.stored_model import WeightsRecord
from transferkit.studies.rank.imagenet_order import imagenet_order, order_in_words
from transferkit.studies.rank.results import RankedBackbone


def row(label: str, accuracy: float, top1: float | None) -> RankedBackbone:
    weights = WeightsRecord("torchvision", "", "IMAGENET1K_V1")
    interval, costs = (0.0, 1.0), (224, 512, 0.1, top1, 10, 10, 1.0, (1.0,), 20, True)
    return RankedBackbone(label, (1, 1), accuracy, interval, accuracy, interval, label, weights, *costs)


def test_tau_counts_pairs_in_the_same_order_minus_pairs_in_the_other() -> None:
    rows = [row("a", 0.9, 0.7), row("b", 0.8, 0.8), row("c", 0.7, 0.6), row("random", 0.95, None)]

    order = imagenet_order(rows)  # ac and bc agree, ab does not

    assert order.tau == pytest.approx(1 / 3)
    # additive hyperbolic weights 1 / rank + 1 / rank: by probe 1.5, 4/3, 5/6 for ab, ac, bc; by top-1 1.5, 5/6, 4/3
    assert order.weighted_tau == pytest.approx((4 / 3 + 5 / 6 - 1.5) / (1.5 + 4 / 3 + 5 / 6))
    assert (order.n, order.first) == (3, "b")
    assert order.lost == pytest.approx(0.1)
    assert "ordered 3 of 4 with Kendall's tau 0.33" in order_in_words(order, rows)
    assert order_in_words(order, rows).endswith("its first, b, is 10.0 points below the best of these here.")


def test_a_list_that_names_the_best_first_is_told_so() -> None:
    rows = [row("a", 0.9, 0.8), row("b", 0.8, 0.7), row("c", 0.7, 0.6)]

    assert imagenet_order(rows).tau == 1
    assert order_in_words(imagenet_order(rows), rows).endswith("its first, a, is also the best here.")


def test_two_backbones_make_no_list_and_equal_ones_no_order() -> None:
    two = [row("a", 0.9, 0.8), row("b", 0.8, 0.7), row("c", 0.7, None)]
    equal = [row(name, accuracy, 0.7) for name, accuracy in (("a", 0.9), ("b", 0.8), ("c", 0.7))]

    assert imagenet_order(two) is None
    assert "2 of 3 backbones have a published one for their very weights; an order takes 3" in order_in_words(None, two)
    assert "all 3 accuracies are equal" in order_in_words(imagenet_order(equal), equal)
