"""torchvision's networks, imported without torch's compiler, which takes seconds to load and is seldom called.

torchvision's `ops.roi_align` asks the compiler for one function, `is_compile_supported`, which only detection networks
call. While torchvision is imported, a stand-in gives that function, which loads the compiler when it is called.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

COMPILER, ASKED = "torch._dynamo", "torch._dynamo.utils"


def is_compile_supported(device_type: Any) -> Any:
    """Whether torch compiles for a device, asked of the compiler itself."""
    return import_module(ASKED).is_compile_supported(device_type)


@contextmanager
def compiler_left_out() -> Iterator[None]:
    """Inside, torch's compiler is a stand-in with `is_compile_supported` alone; where it is loaded already, itself."""
    if COMPILER in sys.modules:
        yield
        return
    package, utils = ModuleType(COMPILER), ModuleType(ASKED)
    package.__path__ = []
    vars(utils)["is_compile_supported"] = is_compile_supported
    sys.modules.update({COMPILER: package, ASKED: utils})
    try:
        yield
    finally:
        for name in (COMPILER, ASKED):
            sys.modules.pop(name, None)


def import_models() -> ModuleType:
    """`torchvision.models`; with the compiler, where a torchvision asks more of it at its import."""
    try:
        with compiler_left_out():
            return import_module("torchvision.models")
    except (ImportError, AttributeError):
        return import_module("torchvision.models")


models = import_models()
