"""Random weights for networks that are only asked what they are: a few numbers drawn once and repeated."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import init
from torch.overrides import TorchFunctionMode

DRAWN = 4096  # numbers


class Undrawn(TorchFunctionMode):
    """Within it, `normal_` and `uniform_` repeat 4,096 numbers of their distribution instead of drawing them all.

    Filling VGG-16 with random numbers takes longer than a step of its training; copying is as fast as the memory.
    Scale and shape are those of a network that would learn, so that its speed is too: zeros might be quicker, and
    what is left in the memory could be NaN. Each call has other numbers: `trunc_normal_` draws until all are inside.
    """

    def __init__(self) -> None:
        """The numbers are the same each time, and the caller's generator is left alone."""
        super().__init__()
        self.generator = torch.Generator().manual_seed(0)
        # torch asks a mode at these three functions of torch.nn.init, and at methods of tensors in all others
        self.repeated: dict[Callable[..., Any], Callable[..., Tensor]] = {
            Tensor.normal_: self.normal,
            init.normal_: self.normal,
            Tensor.uniform_: self.uniform,
            init.uniform_: self.uniform,
            init.kaiming_uniform_: self.kaiming_uniform,
        }

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Every call of torch comes here."""
        return self.repeated.get(func, func)(*args, **(kwargs or {}))  # type: ignore[no-untyped-call]

    def normal(self, tensor: Tensor, mean: float = 0, std: float = 1, **_: Any) -> Tensor:
        """As `torch.nn.init.normal_`, in place."""
        return _repeat(tensor, torch.randn(DRAWN, generator=self.generator, device="cpu") * std + mean)

    def uniform(self, tensor: Tensor, a: float = 0, b: float = 1, **_: Any) -> Tensor:
        """As `torch.nn.init.uniform_`, in place."""
        return _repeat(tensor, torch.rand(DRAWN, generator=self.generator, device="cpu") * (b - a) + a)

    def kaiming_uniform(
        self, tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: Any = "leaky_relu", **_: Any
    ) -> Tensor:
        """As `torch.nn.init.kaiming_uniform_`, in place: what convolutions and dense layers begin with."""
        fan_in, fan_out = init._calculate_fan_in_and_fan_out(tensor)
        bound = init.calculate_gain(nonlinearity, a) * math.sqrt(3 / (fan_in if mode == "fan_in" else fan_out))
        return self.uniform(tensor, -bound, bound)


@contextmanager
def without_memory() -> Iterator[None]:
    """Within it, networks get no memory and draw nothing, as torch would load its compiler to draw for no memory."""
    with torch.device("meta"), Undrawn():
        yield


def _repeat(tensor: Tensor, numbers: Tensor) -> Tensor:
    """Fill the tensor, in place, in the order of its indices."""
    if tensor.is_meta:
        return tensor
    flat = tensor.detach().view(-1) if tensor.is_contiguous() else torch.empty(tensor.numel(), dtype=tensor.dtype)
    whole = len(flat) // DRAWN * DRAWN
    flat[:whole].view(-1, DRAWN).copy_(numbers)
    flat[whole:].copy_(numbers[: len(flat) - whole])
    return tensor if tensor.is_contiguous() else tensor.detach().copy_(flat.view(tensor.shape))
