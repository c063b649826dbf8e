"""Watches modules of a network with forward hooks."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from transferkit.features.layers import BODY, EXAMPLES
from transferkit.runtime.errors import TransferkitError


@dataclass(frozen=True)
class Watched:
    """What a forward pass showed: the last output of each module, how often each was called, which finished last."""

    outputs: dict[str, Any]
    calls: dict[str, int]
    deepest: str


@torch.no_grad()
def watched(body: nn.Module, modules: Sequence[str], images: Tensor) -> Watched:
    """Run the body on some images and watch some of its modules.

    Raises:
        TransferkitError: If the body cannot take images of this size.
    """
    outputs: dict[str, Any] = dict.fromkeys(modules)
    calls: Counter[str] = Counter()
    finished: list[str] = []

    def keep(name: str, output: Any) -> None:
        outputs[name] = output.clone() if isinstance(output, Tensor) else output
        calls[name] += 1
        finished.append(name)

    with hooked(body, [name for name in modules if name != BODY], keep):
        try:
            output = body(images)
        except (RuntimeError, AssertionError, ValueError) as error:
            side = images.shape[-1]
            raise TransferkitError(
                f"This backbone cannot take images of {side} x {side} px: {error}. Try another size."
            ) from error
    if BODY in outputs:
        keep(BODY, output)
    return Watched(outputs, dict(calls), finished[-1] if finished else BODY)


@contextmanager
def hooked(body: nn.Module, modules: Sequence[str], keep: Callable[[str, Any], None]) -> Iterator[None]:
    """Inside, `keep` hears the name and the output of these modules at each call."""

    def hook(name: str) -> Callable[[nn.Module, Any, Any], None]:
        return lambda _module, _inputs, output: keep(name, output)

    handles = [body.get_submodule(name).register_forward_hook(hook(name)) for name in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def example_images(size: int, device: torch.device, bands: int = 3) -> Tensor:
    """Prepared images of noise, the same every time."""
    noise = torch.randn(EXAMPLES, bands, size, size, generator=torch.Generator().manual_seed(0))
    return noise.to(device).contiguous(memory_format=torch.channels_last)


def inference_copy(body: nn.Module, device: torch.device) -> nn.Module:
    """A copy in eval mode and channels_last on the device, without in-place layers, which would overwrite outputs."""
    copied = copy.deepcopy(body).eval().requires_grad_(False)
    for module in copied.modules():
        if getattr(module, "inplace", False) is True:
            module.inplace = False  # type: ignore[assignment]
    return copied.to(device).to(memory_format=torch.channels_last)


class _DeepEnough(Exception):
    """Ends a forward pass."""


class HookedLayers(nn.Module):
    """The last outputs of some modules, by forward hooks; the pass ends when the deepest has given its own."""

    def __init__(self, body: nn.Module, calls: Mapping[str, int], deepest: str) -> None:
        super().__init__()
        self.body, self.calls, self.deepest = body, dict(calls), deepest

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Prepared images (N, 3, size, size) to one tensor per module."""
        outputs: dict[str, Tensor] = {}
        calls: Counter[str] = Counter()

        def keep(name: str, output: Tensor) -> None:
            calls[name] += 1
            if calls[name] == self.calls[name]:
                outputs[name] = output.clone()  # what follows may change it in place
                if name == self.deepest:
                    raise _DeepEnough

        with hooked(self.body, [name for name in self.calls if name != BODY], keep):
            try:
                output = self.body(images)
            except _DeepEnough:
                return outputs
        return {**outputs, BODY: output}
