"""torch without its compiler, which takes seconds to load and is seldom called.

torch, torchvision and timm import it where they only want to be left alone by it: torchvision's `ops.roi_align` for a
question that detection networks ask, torch's modes and optimisers and timm's NaFlexViT to say that a function is not to
be compiled, or not beyond a line. A stand-in answers all three, and gives way to the compiler itself as soon as more is
asked of it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

import torch

COMPILER, ASKED = "torch._dynamo", "torch._dynamo.utils"


def is_compile_supported(device_type: Any) -> Any:
    """Whether torch compiles for a device, asked of the compiler itself."""
    return import_module(ASKED).is_compile_supported(device_type)


def disable(function: Callable[..., Any], *arguments: Any, **options: Any) -> Callable[..., Any]:
    """The function, left alone by the compiler as soon as there is one; torch keeps what this returns."""

    @cache
    def by_compiler() -> Callable[..., Any]:
        disabled: Callable[..., Any] = sys.modules[COMPILER].disable(function, *arguments, **options)
        return disabled

    def called(*args: Any, **kwargs: Any) -> Any:
        return (by_compiler() if is_loaded() else function)(*args, **kwargs)

    return called


def graph_break(*_: Any, **__: Any) -> None:
    """Where the compiler would have to stop, while there is none."""


def is_loaded() -> bool:
    """Whether the compiler itself is there."""
    return COMPILER in sys.modules and not isinstance(sys.modules[COMPILER], StandIn)


class StandIn(ModuleType):
    """A module with a few functions, in place of one that takes long to load."""

    def __init__(self, name: str, *functions: Callable[..., Any]) -> None:
        super().__init__(name)
        self.__path__: list[str] = []
        vars(self).update({function.__name__: function for function in functions})

    def __getattr__(self, name: str) -> Any:
        """What the stand-in lacks, of the module itself, which is loaded for it."""
        if name.startswith("__"):  # the import system asks for these
            raise AttributeError(name)
        take_out()
        return getattr(import_module(self.__name__), name)


@contextmanager
def compiler_left_out() -> Iterator[None]:
    """Inside, torch's compiler is a stand-in with three functions; where it is loaded already, itself."""
    if COMPILER in sys.modules:
        yield
        return
    sys.modules[COMPILER] = StandIn(COMPILER, disable, graph_break)
    sys.modules[ASKED] = StandIn(ASKED, is_compile_supported)
    try:
        yield
    finally:
        take_out()


def imported(name: str) -> ModuleType:
    """A module, without the compiler; with it, where a version of the module asks more of it at its import."""
    try:
        with compiler_left_out():
            return import_module(name)
    except (ImportError, AttributeError):
        return import_module(name)


def take_out() -> None:
    """Have the next import load the compiler itself."""
    for name in (COMPILER, ASKED):
        if isinstance(sys.modules.get(name), StandIn):
            del sys.modules[name]


def take_step(optimizer: torch.optim.Optimizer) -> None:
    """One step of an optimiser, and no gradients any more; torch would load the compiler to keep it from both."""
    with compiler_left_out():
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
