"""torch without its compiler, which takes seconds to load and is seldom called.

torch and torchvision import it where they only want to be left alone by it: torchvision's `ops.roi_align` for a
question that detection networks ask, torch's modes and optimisers to say that a function is not to be compiled. A
stand-in answers both, and asks the compiler itself as soon as it is there.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

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


def is_loaded() -> bool:
    """Whether the compiler itself is there."""
    return COMPILER in sys.modules and vars(sys.modules[COMPILER]).get("disable") is not disable


@contextmanager
def compiler_left_out() -> Iterator[None]:
    """Inside, torch's compiler is a stand-in with two functions; where it is loaded already, itself."""
    if COMPILER in sys.modules:
        yield
        return
    package, utils = ModuleType(COMPILER), ModuleType(ASKED)
    package.__path__ = []
    vars(package)["disable"] = disable
    vars(utils)["is_compile_supported"] = is_compile_supported
    sys.modules.update({COMPILER: package, ASKED: utils})
    try:
        yield
    finally:
        for name in (COMPILER, ASKED):
            sys.modules.pop(name, None)
