"""Gradients of depthwise convolutions on a CPU that trains in bf16."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


class DepthwiseGradientsInFp32(TorchFunctionMode):
    """Inside, depthwise convolutions of autocast compute forwards in bf16, and their gradients in fp32.

    oneDNN has fast bf16 gradients for kernels of up to 3 x 3 at stride 1 alone; for others a plain loop of its own
    takes 4 to 17 times as long as fp32 does, in EfficientNet-Lite0 more than all the rest of a step
    (docs/performance.md). Outputs are those of autocast; gradients are rounded once less.
    """

    def __torch_function__(
        self, function: Callable[..., Any], _: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return (_convolved if function is F.conv2d else function)(*args, **(kwargs or {}))


def _convolved(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: str | int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    """`torch.nn.functional.conv2d`, with its names of arguments."""
    is_depthwise = 1 < groups == weight.shape[0] == input.shape[-3] and input.ndim == 4
    is_fast = max(weight.shape[-2:]) <= 3 and max(_pair(stride)) == 1
    is_asked = torch.is_autocast_enabled("cpu") and torch.is_grad_enabled()
    if not is_asked or not is_depthwise or is_fast or isinstance(padding, str):
        return F.conv2d(input, weight, bias, stride, padding, dilation, groups)
    convolved: Tensor = _Depthwise.apply(input, weight, bias, _pair(stride), _pair(padding), _pair(dilation))
    return convolved


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, bias: Tensor | None, *geometry: list[int]) -> Tensor:
        ctx.geometry = geometry
        ctx.dtypes = [None if value is None else value.dtype for value in (images, weight, bias)]
        images = images.bfloat16()
        ctx.save_for_backward(images, weight)
        stride, padding, dilation = geometry
        bias = None if bias is None else bias.bfloat16()
        return F.conv2d(images, weight.bfloat16(), bias, stride, padding, dilation, len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        images, weight = ctx.saved_tensors
        gradients = torch.ops.aten.convolution_backward(
            gradient.float(),
            images.float(),
            weight.float(),
            [len(weight)],  # of the bias, if one is wanted
            *ctx.geometry,
            False,  # not transposed
            [0, 0],
            len(weight),
            ctx.needs_input_grad[:3],
        )
        own = (None if value is None else value.to(dtype) for value, dtype in zip(gradients, ctx.dtypes, strict=True))
        return (*own, None, None, None)


def _pair(value: int | Sequence[int]) -> list[int]:
    return [value, value] if isinstance(value, int) else list(value)
