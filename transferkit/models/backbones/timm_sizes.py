"""Which sizes of images a model of timm can take, tried on the meta device: without memory and without computing."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TypedDict

from transferkit.runtime import timm_import  # noqa: F401 - before timm, which would load the compiler with it

# isort: split
import timm
import torch
from torch import Tensor, nn

from transferkit.runtime.errors import TransferkitError

# What timm's models raise where a size does not suit them.
REFUSALS = (RuntimeError, AssertionError, ValueError, TypeError, LookupError, AttributeError)


class TimmOptions(TypedDict, total=False):
    """What timm is told when it builds a model; `img_size` where it takes images of one side alone."""

    num_classes: int
    img_size: int
    drop_rate: float | None


@dataclass(frozen=True)
class Size:
    """A model by its full name, the side of its images in px, and whether it must be built for a side."""

    name: str
    px: int
    is_fixed: bool

    @property
    def options(self) -> TimmOptions:
        """What timm must be told to build it, without classification layer."""
        return {"num_classes": 0, "img_size": self.px} if self.is_fixed else {"num_classes": 0}


@lru_cache(maxsize=64)
def is_taken(wanted: Size, *, trained: Size | None) -> bool:
    """Whether a model can be built for a side, take such images and take over weights trained at another side.

    Args:
        wanted: The model and the side that it is tried with.
        trained: The same model with the side of its weights; None for random ones.
    """
    try:
        body = outlined(wanted) if trained is None else _with_weights(wanted, outlined(trained).state_dict())
        with torch.device("meta"), torch.no_grad():
            body.eval()(torch.zeros(1, 3, wanted.px, wanted.px))
    except REFUSALS:
        return False
    return True


def outlined(size: Size) -> nn.Module:
    """The model without memory for its weights."""
    with torch.device("meta"), _quiet():
        body: nn.Module = timm.create_model(size.name, **size.options)
    return body


def _with_weights(size: Size, tensors: Mapping[str, Tensor]) -> nn.Module:
    """The same, through timm's own conversion of weights."""
    overlay = {"state_dict": tensors, "num_classes": 0}
    with torch.device("meta"), _quiet():
        body: nn.Module = timm.create_model(size.name, pretrained=True, pretrained_cfg_overlay=overlay, **size.options)
    return body


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep back torch's warning that weights without memory are not copied."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def whole_patches_px(made_for: Size, px: int) -> int:
    """The side nearest to `px` that the model cuts into whole patches."""
    patch = patch_px(outlined(made_for))
    return patch * max(1, round(px / patch))


def patch_px(body: nn.Module) -> int:
    """Side of the patches that the first convolution cuts an image into; 1 where its windows overlap."""
    first = next((module for module in body.modules() if isinstance(module, nn.Conv2d)), None)
    if first is None or first.kernel_size != first.stride or first.padding != (0, 0):
        return 1
    return first.stride[0]


def require_whole_patches(body: nn.Module, size: int, name: str) -> None:
    """Refuse a size that leaves a strip at the border which no patch covers.

    Raises:
        TransferkitError: Names the sizes beside it that do not.
    """
    patch = patch_px(body)
    if size % patch == 0:
        return
    below, above = size // patch * patch, (size // patch + 1) * patch
    raise TransferkitError(
        f"{name} cannot see images of {size} px whole: it cuts them into patches of {patch} px, and the last "
        f"{size % patch} px are in none. "
        f"Use --size {f'{below} or {above}' if below else above}."
    )
