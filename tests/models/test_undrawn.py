"""Networks that are only asked what they are: as large and as lively as others, without drawing all their weights."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import init

from transferkit.models import backbones
from transferkit.models.undrawn import DRAWN, Undrawn
from transferkit.recipe import backbone_settings
from transferkit.runtime.console import SILENT

WAYS = [
    init.normal_,
    init.uniform_,
    init.trunc_normal_,
    init.kaiming_normal_,
    init.kaiming_uniform_,
    init.xavier_normal_,
    init.xavier_uniform_,
    init.orthogonal_,
]


@pytest.mark.parametrize("fill", WAYS, ids=lambda fill: fill.__name__)
def test_every_way_to_draw_weights_has_its_spread(fill: Callable[[Tensor], Tensor]) -> None:
    drawn = fill(torch.empty(150, 200))

    with Undrawn():
        undrawn = fill(torch.empty(150, 200))

    assert float(undrawn.std()) == pytest.approx(float(drawn.std()), rel=0.05)
    assert float(undrawn.mean()) == pytest.approx(float(drawn.mean()), abs=0.05 * float(drawn.std()))


@pytest.mark.parametrize(("name", "px"), [("resnet20", 32), ("alexnet", 64)])
def test_every_weight_has_the_shape_and_the_spread_of_one_that_was_drawn(name: str, px: int) -> None:
    settings = backbone_settings({"name": name, "weights": "none"})
    drawn = backbones.load(settings, ("a", "b"), px, SILENT).state_dict()

    undrawn = backbones.load_undrawn(settings, ("a", "b"), px).state_dict()

    assert {key: value.shape for key, value in undrawn.items()} == {key: value.shape for key, value in drawn.items()}
    large = [key for key, value in drawn.items() if value.numel() >= DRAWN]
    assert len(large) >= 8
    for key in large:
        assert float(undrawn[key].float().std()) == pytest.approx(float(drawn[key].float().std()), rel=0.1), key


def test_nothing_is_drawn_from_the_callers_generator() -> None:
    settings = backbone_settings({"name": "resnet20", "weights": "imagenet"})
    before = torch.get_rng_state()

    backbones.load_undrawn(settings, ("a", "b"), 32)

    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("shape", [(3, 1), (DRAWN, 1), (5, DRAWN // 4 + 1)])
def test_numbers_are_repeated_from_the_beginning_whatever_the_layout(shape: tuple[int, ...]) -> None:
    with Undrawn():
        row = init.normal_(torch.empty(shape), mean=2.0, std=3.0)
    with Undrawn():
        column = init.normal_(torch.empty(shape[::-1]).T, mean=2.0, std=3.0)

    assert torch.equal(row, column)
    flat = row.reshape(-1)
    assert torch.equal(flat[DRAWN:], flat[: max(0, flat.numel() - DRAWN)])
    assert flat.isfinite().all()


def test_on_the_meta_device_nothing_is_filled() -> None:
    with Undrawn(), torch.device("meta"):
        assert nn.Linear(3, 4).weight.is_meta


def test_outside_weights_are_drawn_again() -> None:
    with Undrawn():
        nn.Linear(3, 4)

    one, other = (nn.Linear(3, 4).weight for _ in range(2))

    assert not torch.equal(one, other)
