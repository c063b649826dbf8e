"""A device that computes on the CPU but keeps its tensors apart, as a GPU does: mixing them up is an error.

A tensor there is a wrapper around a CPU tensor and calls its device `meta`. What a GPU refuses is refused: an operation
on tensors of both places, and `numpy()` without `cpu()`. So tests see where a tensor was left behind, without a GPU.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

DEVICE = torch.device("meta")
aten = torch.ops.aten
CROSSING = {aten._to_copy.default, aten.copy_.default}
INDEXING = {  # a GPU takes its indices from the host as well
    aten.index.Tensor,
    aten.index_put_.default,
    aten.index_put.default,
    aten._index_put_impl_.default,
    aten._unsafe_index.Tensor,
}


class Elsewhere(torch.Tensor):
    """A tensor of the other device."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> Elsewhere:
        wrapper = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=DEVICE,
        )
        wrapper.held = held
        return wrapper  # type: ignore[no-any-return]

    def __repr__(self, **_: Any) -> str:
        return f"Elsewhere({self.held})"

    @classmethod
    def __torch_dispatch__(cls, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return carried_out(operation, args, kwargs or {})


class FromPython(TorchFunctionMode):
    """Numbers of Python become a tensor here and are then moved, as `torch.tensor` is not dispatched."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function in (torch.tensor, torch.as_tensor) and kwargs.get("device") is not None:
            device = kwargs.pop("device")
            return function(*args, **kwargs).to(device)
        return function(*args, **kwargs)


class AnotherDevice(TorchDispatchMode):
    """Inside, tensors made on or moved to DEVICE are kept there."""

    def __enter__(self) -> Any:
        self.others = ExitStack()
        self.others.enter_context(FromPython())
        # A wrapper cannot be an inference tensor.
        self.others.enter_context(patch.object(torch.inference_mode, "__enter__", _without_gradients))
        self.others.enter_context(patch.object(torch.inference_mode, "__exit__", _with_gradients_again))
        return super().__enter__()

    def __exit__(self, *error: Any) -> Any:
        super().__exit__(*error)
        self.others.close()

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return carried_out(operation, args, kwargs or {})


def _without_gradients(mode: Any) -> None:
    mode.in_its_place = torch.no_grad()
    mode.in_its_place.__enter__()


def _with_gradients_again(mode: Any, *error: Any) -> None:
    mode.in_its_place.__exit__(*error)


def carried_out(operation: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """The operation on the CPU; its result lies where its arguments lie, or where it was asked for."""
    tensors = [each for each in tree_flatten((args, kwargs))[0] if isinstance(each, torch.Tensor)]
    there = any(isinstance(each, Elsewhere) for each in tensors)
    here = any(not isinstance(each, Elsewhere) and each.ndim > 0 for each in tensors)
    if there and here and operation not in CROSSING | INDEXING:
        raise RuntimeError(f"Expected all tensors to be on the same device: {operation}")
    asked = kwargs.get("device")
    if asked is not None:
        there = torch.device(asked).type == DEVICE.type
        kwargs = {**kwargs, "device": torch.device("cpu")}
    if kwargs.get("pin_memory"):
        kwargs = {**kwargs, "pin_memory": False}
    if operation is aten._local_scalar_dense.default:
        return operation(*tree_map(_unwrapped, args), **kwargs)
    if operation is aten.copy_.default:
        there = isinstance(args[0], Elsewhere)
    result = operation(*tree_map(_unwrapped, args), **tree_map(_unwrapped, kwargs))
    known = {id(_unwrapped(each)): each for each in tensors}
    return tree_map(lambda value: _placed(value, known, there), result)


def _unwrapped(value: Any) -> Any:
    return value.held if isinstance(value, Elsewhere) else value


def _placed(value: Any, known: dict[int, torch.Tensor], there: bool) -> Any:
    """What an operation changed in place is the same tensor as before."""
    if not isinstance(value, torch.Tensor):
        return value
    if id(value) in known:
        return known[id(value)]
    return Elsewhere(value) if there and not isinstance(value, Elsewhere) else value
