"""A body's fast form is built once for each state of the body, and never answers for another state."""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Callable

import pytest
import torch
from networks import CPU, batch, classifier_of
from torch import nn

from transferkit.features import fast_forms
from transferkit.features.layer_network import LayerNetwork
from transferkit.models.classifier import Classifier
from transferkit.runtime.console import SILENT
from transferkit.runtime.machine import Runtime

BF16 = Runtime(torch.device("cpu"), "bf16", 1)


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[nn.Module]:
    """The bodies that a form was built of."""
    bodies: list[nn.Module] = []
    build = fast_forms.built
    monkeypatch.setattr(fast_forms, "built", lambda body, *how: (bodies.append(body), build(body, *how))[1])
    return bodies


def classifier() -> Classifier:
    torch.manual_seed(0)
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return classifier_of(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), pool), 8)


def features(network: Classifier, runtime: Runtime = CPU, layer: str = "penultimate") -> torch.Tensor:
    return LayerNetwork(network, [layer], "avg", runtime, SILENT)(batch(4, 8))[layer]


def test_a_body_that_stays_as_it_is_gets_one_form(builds: list[nn.Module]) -> None:
    network = classifier()

    first, second = features(network), features(network)

    assert len(builds) == 1
    assert torch.equal(first, second)


def step(network: Classifier, **options: bool) -> None:
    with torch.enable_grad():
        network.body(network.prepare(batch(4, 8))).square().sum().backward()
    torch.optim.SGD(network.body.parameters(), lr=1.0, **options).step()


def double(network: Classifier) -> None:
    network.body.load_state_dict({name: value * 2 for name, value in network.body.state_dict().items()})


def pass_in_training_mode(network: Classifier) -> None:
    """Of a BatchNorm that does not count its passes: torch counts no change then."""
    network.body[1].num_batches_tracked = None
    network.body[1].train()(torch.randn(4, 8, 4, 4))


CHANGES: dict[str, Callable[[Classifier], object]] = {
    "a step": step,
    "a fused step": lambda network: step(network, fused=True),
    "through data": lambda network: network.body[0].weight.data[0, 0, 0].add_(0.1),
    "loaded weights": double,
    "statistics of BatchNorm": pass_in_training_mode,
    "filters in another order": lambda network: network.body[0].weight.copy_(network.body[0].weight.roll(2, 0)),
    "another activation": lambda network: network.body.__setitem__(2, nn.GELU()),
    "another convolution": lambda network: network.body.__setitem__(0, nn.Conv2d(3, 8, 3)),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_body_that_changed_gets_another_form(change: Callable[[Classifier], object]) -> None:
    network = classifier()
    before = features(network)

    with torch.no_grad():
        change(network)
    after = features(network)

    assert not torch.equal(after, before)
    assert torch.equal(after, features(copy.deepcopy(network)))  # of a copy nothing is kept


def test_another_layer_and_another_precision_get_another_form(builds: list[nn.Module]) -> None:
    network = classifier()

    whole, maps, rounded = features(network), features(network, layer="0"), features(network, BF16)

    assert len(builds) == 3
    assert torch.equal(maps, features(copy.deepcopy(network), layer="0"))
    assert 0 < (rounded - whole).abs().max() < 0.05


def test_a_form_in_8_bits_is_its_users_own(builds: list[nn.Module]) -> None:
    network = classifier()
    exact = features(network)

    LayerNetwork(network, ["penultimate"], "avg", CPU, SILENT).use("int8", lambda images: {"": images.flatten(1)})

    assert torch.equal(features(network), exact)
    assert len(builds) == 1


def test_a_body_that_nobody_holds_leaves_nothing_behind() -> None:
    network = classifier()
    features(network)
    body, form = weakref.ref(network.body), weakref.ref(fast_forms.KEPT[network.body][1].network)

    del network
    gc.collect()

    assert (body(), form()) == (None, None)
