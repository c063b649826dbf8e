"""A softmax before the cross-entropy is refused, and a first loss far from chance is told."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from small_trainings import NEUTRAL
from torch import Tensor, nn
from torch.nn import functional as F

from transferkit.data.images import Images
from transferkit.data.splitting import split
from transferkit.models.classifier import Classifier
from transferkit.models.logit_checks import loss_floor
from transferkit.models.stored_model import InputSpec
from transferkit.recipe import parse
from transferkit.runs.facts import StartFacts
from transferkit.runtime import machine
from transferkit.runtime.console import SILENT
from transferkit.runtime.context import Context
from transferkit.runtime.errors import TransferkitError
from transferkit.training import methods
from transferkit.training.initial_checks import check_start, first_loss, require_logits

NAMES = tuple("abcdefghij")
CPU = torch.device("cpu")


class Body(nn.Module):
    """The mean colour of an image, through BatchNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3)

    def forward(self, images: Tensor) -> Tensor:
        means: Tensor = self.norm(images.mean((2, 3)))
        return means


def classifier(*activations: nn.Module, head: nn.Module | None = None) -> Classifier:
    torch.manual_seed(0)
    network = Classifier(Body(), 3, NAMES, {"norm": ("norm",)}, InputSpec(8, (0.5,) * 3, (0.25,) * 3))  # type: ignore[arg-type]
    network.head = head or (nn.Sequential(network.head, *activations) if activations else network.head)
    return network


def images(count: int = 60) -> Images:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 3, 8, 8), dtype=np.uint8)
    return Images.from_pixels(pixels, np.arange(count) % 10, NAMES)


def batch() -> Tensor:
    return torch.from_numpy(images().pixels)


def test_a_softmax_is_refused_with_the_floor_it_puts_under_the_loss() -> None:
    with pytest.raises(TransferkitError, match=r"ends in a softmax.*cannot fall below 1.461. Remove it"):
        require_logits(classifier(nn.Softmax(1)), batch())


def test_a_log_softmax_is_refused_though_it_changes_no_loss() -> None:
    with pytest.raises(TransferkitError, match=r"ends in a log-softmax.*leaves the loss as it is.*logits"):
        require_logits(classifier(nn.LogSoftmax(1)), batch())
    logits, labels = torch.randn(5, 10), torch.arange(5)
    torch.testing.assert_close(F.cross_entropy(logits.log_softmax(1), labels), F.cross_entropy(logits, labels))


@pytest.mark.parametrize(("activation", "floor"), [(nn.Sigmoid(), "1.461"), (nn.Tanh(), "0.797")])
def test_an_activation_with_a_ceiling_is_refused(activation: nn.Module, floor: str) -> None:
    # best outputs: 1 for the class and 0 (tanh: -1) for nine others: ln(1 + 9 / e) and ln(1 + 9 / e^2)
    with pytest.raises(TransferkitError, match=rf"activation with a ceiling.*cannot fall below {floor}"):
        require_logits(classifier(activation), batch())


def test_a_method_refuses_before_its_first_step() -> None:
    network = classifier(nn.Softmax(1))
    before = network.digest(["norm", "head"])
    pool = images()
    splits = split(pool, pool, val_fraction=0.2, limit_per_class=None, seed=0)
    method = {**NEUTRAL, "name": "scratch", "epochs": 1, "batch_size": 8, "lr": 0.1, "weight_decay": 0.0}
    recipe = parse({"data": "digits", "backbone": {"name": "lenet"}, "method": method})

    context = Context(machine.Runtime(CPU, "fp32", 1), SILENT, 0)
    with pytest.raises(TransferkitError, match="ends in a softmax"):
        methods.fit(network, splits, recipe.method, recipe.backbone, context)
    assert network.digest(["norm", "head"]) == before


@pytest.mark.parametrize(
    "head",
    [
        nn.Linear(3, 10),
        nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 10)),
        nn.Sequential(nn.Linear(3, 10), nn.ReLU()),  # positive, and no ceiling
        nn.Sequential(nn.Linear(3, 8), nn.Sigmoid(), nn.Linear(8, 10)),  # bounded, but learns its own scale
    ],
)
def test_logits_are_accepted(head: nn.Module) -> None:
    require_logits(classifier(head=head), batch())


def test_a_head_of_zeros_is_accepted() -> None:
    head = nn.Sequential(nn.Linear(3, 10))
    nn.init.zeros_(head[0].weight)
    nn.init.zeros_(head[0].bias)

    require_logits(classifier(head=head), batch())


def test_floor_is_the_loss_of_the_best_softmax_row() -> None:
    best = torch.eye(10)[:1]

    assert loss_floor(10) == pytest.approx(F.cross_entropy(best, torch.tensor([0])).item(), rel=1e-6)


def test_checks_leave_the_network_and_the_random_numbers_as_they_were() -> None:
    network = classifier(nn.Dropout(0.5)).train()
    before, state = network.digest(["norm", "head"]), torch.get_rng_state()

    check_start(network, images(), CPU, has_random_head=True)

    assert network.training
    assert network.digest(["norm", "head"]) == before
    assert torch.equal(torch.get_rng_state(), state)


def test_first_loss_is_the_cross_entropy_in_train_mode() -> None:
    network = classifier()
    labels = torch.from_numpy(images().labels)

    expected = F.cross_entropy(network.train()(batch()), labels).item()

    assert first_loss(classifier(), batch(), labels) == pytest.approx(expected)


def test_the_first_loss_is_that_of_a_random_head_alone() -> None:
    loud = classifier()
    with torch.no_grad():
        loud.head.weight.mul_(50)  # type: ignore[operator, union-attr]

    first = check_start(loud, images(), CPU, has_random_head=True)

    assert first is not None
    assert (first.classes, first.loss > math.log(10) + 2) == (10, True)
    assert check_start(loud, images(), CPU, has_random_head=False) is None


def test_a_loud_random_head_is_observed_before_the_first_step() -> None:
    seen: list[StartFacts] = []
    method = {**NEUTRAL, "name": "scratch", "epochs": 1, "batch_size": 8, "lr": 0.1, "weight_decay": 0.0}
    recipe = parse({"data": "digits", "backbone": {"name": "lenet"}, "method": method})
    splits = split(images(), images(), val_fraction=0.2, limit_per_class=None, seed=0)
    context = Context(machine.Runtime(CPU, "fp32", 1), SILENT, 0, observe=seen.append)

    methods.fit(classifier(), splits, recipe.method, recipe.backbone, context)

    assert seen[0].first_loss is not None
