"""What training does to its images, on uint8 batches and on their device; names and strengths stand in `recipe`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TypeAlias

import torch
from torch import Tensor

from transferkit.data.augmentation.draws import BatchDraws
from transferkit.recipe.augmentation import AUGMENTATIONS, FROM_PYTHON
from transferkit.runtime.errors import TransferkitError

Function: TypeAlias = Callable[[Tensor, float, BatchDraws], Tensor]
Own: TypeAlias = Callable[[Tensor], Tensor]
Wanted: TypeAlias = Mapping[str, float] | Own | str

__all__ = ["AUGMENTATIONS", "BatchDraws", "Wanted", "augment", "function_of", "require_callable"]


def function_of(name: str) -> Function:
    """The function of an entry of the menu: (uint8 images (B, C, H, W), strength, draws) -> the same shape."""
    module, _, last = AUGMENTATIONS[name].function.rpartition(".")
    function: Function = getattr(import_module(f"{__name__}.{module}"), last)
    return function


def augment(images: Tensor, wanted: Wanted, draws: BatchDraws) -> Tensor:
    """Images under the functions of the menu, one after the other, or under a function of one's own.

    Args:
        images: (B, C, H, W) uint8, on any device; not changed.
        wanted: Strengths by name, or the function.
        draws: Of this batch; one's own function draws for itself.

    Raises:
        TransferkitError: If one's own function is known by name only, or gives something else than such images.
    """
    if not isinstance(wanted, Mapping):
        return _checked(require_callable(wanted)(images.clone()), images)
    require_colours(wanted, images.shape[1])
    for place, (name, strength) in enumerate(wanted.items()):
        images = function_of(name)(images, strength, draws.of_function(place))
    return images


def require_colours(wanted: Mapping[str, float], bands: int) -> None:
    """Refuse what makes sense of red, green and blue only, where images have other bands.

    Raises:
        TransferkitError: Names the functions.
    """
    coloured = [name for name in wanted if AUGMENTATIONS[name].needs_colours]
    if coloured and bands != 3:
        raise TransferkitError(
            f"Of method.augment {', '.join(coloured)} changes colours, and these images have {bands} bands, not red, "
            "green and blue. Leave it out; crop, rotation and erasing work with any bands."
        )


def require_callable(wanted: Own | str) -> Own:
    """One's own function.

    Raises:
        TransferkitError: If a recipe's file has its name only: what is in a file is never run.
    """
    if isinstance(wanted, str):
        name = wanted.removeprefix(FROM_PYTHON)
        raise TransferkitError(
            f"method.augment is {name}, a function that was given in Python; a recipe's file holds its name only. "
            f"Give it again, as in transferkit.finetune(..., augment={name.rpartition('.')[2]})."
        )
    return wanted


def _checked(result: object, images: Tensor) -> Tensor:
    expected = f"uint8 of shape {tuple(images.shape)}, as it was given"
    if not isinstance(result, Tensor):
        raise TransferkitError(f"The function for augment gave {type(result).__name__}. Expected a tensor, {expected}.")
    if result.shape != images.shape or result.dtype != torch.uint8:
        raise TransferkitError(
            f"The function for augment gave {str(result.dtype).removeprefix('torch.')} of shape {tuple(result.shape)}. "
            f"Expected {expected}."
        )
    return result
