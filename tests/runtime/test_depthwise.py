"""Depthwise convolutions in bf16 on a CPU: outputs of autocast, gradients of fp32, nothing else touched."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transferkit.runtime import depthwise
from transferkit.runtime.depthwise import DepthwiseGradientsInFp32
from transferkit.runtime.machine import Runtime

RUNTIME = Runtime(torch.device("cpu"), "bf16", 1)
SLOW_IN_BF16 = [(5, 1), (3, 2), (7, 1)]


def gradients(layer: nn.Conv2d, images: Tensor) -> list[Tensor | None]:
    """Of the images and the layer's parameters, of a sum of squares in which every output counts differently."""
    outputs = layer(images)
    outputs.float().square().mul(torch.linspace(0.5, 1.5, outputs.numel()).view_as(outputs)).sum().backward()
    return [images.grad, *(parameter.grad for parameter in layer.parameters())]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Channels of each convolution whose gradients were computed in fp32."""
    seen: list[int] = []
    inner = depthwise._Depthwise.apply

    def apply(images: Tensor, *rest: object) -> object:
        seen.append(images.shape[1])
        return inner(images, *rest)

    monkeypatch.setattr(depthwise._Depthwise, "apply", apply)
    return seen


@pytest.mark.parametrize(("kernel", "stride"), SLOW_IN_BF16)
@pytest.mark.parametrize("bias", [True, False])
def test_gradients_are_those_of_fp32_up_to_the_rounding_of_what_goes_in(kernel: int, stride: int, bias: bool) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(6, 6, kernel, stride, padding=kernel // 2, groups=6, bias=bias)
    images = torch.randn(2, 6, 9, 9, requires_grad=True)
    exact_images = images.detach().bfloat16().double().requires_grad_()
    exact = nn.Conv2d(6, 6, kernel, stride, padding=kernel // 2, groups=6, bias=bias).double()
    exact.load_state_dict({name: value.bfloat16() for name, value in layer.state_dict().items()})

    with RUNTIME.autocast_of_training():
        found = gradients(layer, images)

    for ours, reference in zip(found, gradients(exact, exact_images), strict=True):
        assert ours is not None
        assert reference is not None
        assert ours.dtype == torch.float32
        assert (ours - reference).norm() < 0.005 * reference.norm()  # bf16 has 8 bits: 1/256 per rounding


@pytest.mark.parametrize(("kernel", "stride"), SLOW_IN_BF16)
def test_outputs_are_those_of_autocast(kernel: int, stride: int) -> None:
    layer, images = nn.Conv2d(6, 6, kernel, stride, groups=6), torch.randn(2, 6, 9, 9)

    with RUNTIME.autocast():
        expected = layer(images)
    with RUNTIME.autocast_of_training():
        found = layer(images)

    assert torch.equal(found, expected)
    assert found.dtype == torch.bfloat16


@pytest.mark.usefixtures("counted")
def test_a_frozen_layer_gets_no_gradient_and_passes_one_on() -> None:
    layer, images = nn.Conv2d(6, 6, 5, groups=6).requires_grad_(False), torch.randn(2, 6, 9, 9, requires_grad=True)

    with RUNTIME.autocast_of_training():
        of_images, *of_layer = gradients(layer, images)

    assert of_images is not None
    assert of_layer == [None, None]


@pytest.mark.parametrize(
    ("layer", "channels"),
    [
        (nn.Conv2d(6, 6, 5, groups=6), [6]),
        (nn.Conv2d(6, 6, 3, 2, groups=6), [6]),
        (nn.Conv2d(6, 6, 3, groups=6), []),
        (nn.Conv2d(6, 6, 5, groups=3), []),
        (nn.Conv2d(6, 12, 5, groups=6), []),
        (nn.Conv2d(6, 6, 5), []),
    ],
    ids=["5 x 5", "stride 2", "3 x 3, fast already", "groups of two", "two outputs each", "dense"],
)
def test_only_depthwise_convolutions_that_are_slow_in_bf16_are_touched(
    layer: nn.Conv2d, channels: list[int], counted: list[int]
) -> None:
    with RUNTIME.autocast_of_training():
        layer(torch.randn(1, 6, 9, 9))

    assert counted == channels


def test_nothing_is_touched_without_gradients_or_where_autocast_is_off(counted: list[int]) -> None:
    layer, images = nn.Conv2d(6, 6, 5, groups=6), torch.randn(1, 6, 9, 9)

    with RUNTIME.autocast_of_training(), torch.no_grad():
        layer(images)
    with RUNTIME.autocast_of_training(), torch.autocast("cpu", enabled=False):
        assert layer(images).dtype == torch.float32
    with Runtime(torch.device("cpu"), "fp32", 1).autocast_of_training():
        assert layer(images).dtype == torch.float32

    assert counted == []


def test_a_network_of_ones_own_may_call_it_by_names(counted: list[int]) -> None:
    images, weight = torch.randn(1, 6, 9, 9), torch.randn(6, 1, 5, 5, requires_grad=True)

    with RUNTIME.autocast_of_training():
        found = F.conv2d(input=images, weight=weight, padding=2, groups=6)

    assert found.shape == images.shape
    assert counted == [6]


def test_every_way_to_write_the_geometry_is_that_of_torch() -> None:
    images, weight = torch.randn(1, 4, 11, 9).bfloat16(), torch.randn(4, 1, 5, 3, requires_grad=True)

    with torch.autocast("cpu", torch.bfloat16):
        for geometry in ((2, 1, 1), ((1, 2), (2, 1), 1), (1, 0, (2, 1)), (1, "same", 1)):
            expected = F.conv2d(images, weight, None, *geometry, groups=4)
            with DepthwiseGradientsInFp32():
                found = F.conv2d(images, weight, None, *geometry, groups=4)
            assert torch.equal(found, expected)
