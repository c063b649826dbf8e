"""Reads files of weights without running code from them."""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from transferkit.runtime.errors import TransferkitError

Tensors = dict[str, Tensor]
TORCH_SUFFIXES = (".pth", ".pt", ".bin", ".ckpt", ".tar")
WRAPPERS = ("state_dict", "model_state_dict", "model")
# DataParallel, torch.compile, Lightning, a run of ours, its last stages side by side
PREFIXES = ("module.", "_orig_mod.", "model.", "body.", "network.")


def read_file(path: Path) -> tuple[Tensors, dict[str, str]]:
    """The state dict in a file, in float32, without wrappers and prefixes; and the file's metadata.

    Raises:
        TransferkitError: If the file is none of the known kinds, damaged, or would have to run code.
    """
    if path.suffix == ".safetensors":
        values, metadata = _read_safetensors(path)
    elif path.suffix in TORCH_SUFFIXES:
        values, metadata = _read_torch(path), {}
    else:
        raise TransferkitError(
            f"{path} is no file of weights. Expected .safetensors or one of {', '.join(TORCH_SUFFIXES)}."
        )
    tensors = {name: as_float32(value) for name, value in unwrapped(values).items() if isinstance(value, Tensor)}
    if not tensors:
        raise TransferkitError(f"{path} holds no weights: expected a state dict, tensors by name.")
    return without_prefixes(tensors), metadata


def _read_safetensors(path: Path) -> tuple[Any, dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise TransferkitError(f"{path} is no .safetensors file, or damaged: {error}. {_opening(path)}") from error


def _read_torch(path: Path) -> Any:
    """What torch.load reads with weights_only: tensors and plain containers, never code."""
    with path.open("rb") as file:
        is_torch_file = file.read(2).startswith((b"PK", b"\x80"))  # a zip archive, or a bare pickle
    if not is_torch_file:
        raise TransferkitError(f"{path} is no PyTorch file. {_opening(path)} Expected a saved state dict.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        wanted = re.search(r"GLOBAL ([\w.]+)", str(error))
        if wanted is None:
            raise TransferkitError(f"{path} is damaged, or no PyTorch file.") from error
        raise TransferkitError(
            f"{path} was refused: to load it, Python would have to run code from the file ({wanted.group(1)}), "
            "which could do anything. Expected tensors alone. If you trust where it comes from, load it with your own "
            "code and save its state dict: torch.save(model.state_dict(), FILE)."
        ) from error
    except Exception as error:  # a damaged file can fail in any way
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise TransferkitError(f"{path} is damaged or cut off: {reason}.") from error


def _opening(path: Path) -> str:
    """How a file begins, to recognise a web page or a pointer that was saved in place of the weights."""
    with path.open("rb") as file:
        begin = file.read(40)
    if not begin:
        return "It is empty."
    return f"It begins with {begin.decode('utf-8', 'replace').splitlines()[0]!r}."


def unwrapped(values: Any) -> Mapping[str, Any]:
    """The state dict in what a training script saved around it."""
    while isinstance(values, Mapping):
        inner = next((values[key] for key in WRAPPERS if isinstance(values.get(key), Mapping)), None)
        if inner is None:
            return values
        values = inner
    return {}


def without_prefixes(tensors: Tensors) -> Tensors:
    """The tensors without the prefixes that wrappers give to every name; of a run's model, the body."""
    if any(name.startswith("body.") for name in tensors):
        tensors = {name: value for name, value in tensors.items() if not name.startswith("head.")}
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in tensors):
            return without_prefixes({name.removeprefix(prefix): value for name, value in tensors.items()})
    return tensors


def as_float32(tensor: Any) -> Any:
    """Floating-point tensors of any precision in float32, their numbers in a row; everything else as it is."""
    is_float = isinstance(tensor, Tensor) and tensor.is_floating_point()
    return tensor.float().contiguous() if is_float else tensor
