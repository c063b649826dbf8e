"""torchvision's networks, imported without torch's compiler."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from transferkit.runtime.torch_compiler import compiler_left_out


def import_models() -> ModuleType:
    """`torchvision.models`; with the compiler, where a torchvision asks more of it at its import."""
    try:
        with compiler_left_out():
            return import_module("torchvision.models")
    except (ImportError, AttributeError):
        return import_module("torchvision.models")


models = import_models()
