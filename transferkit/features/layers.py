"""Layers of a network by name, and how their output becomes features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from transferkit.models.classifier import Classifier
from transferkit.models.pooled_stages import has_channels_last
from transferkit.runtime.errors import TransferkitError, did_you_mean

PENULTIMATE = "penultimate"  # the head's input
POOLS = ("avg", "max", "none", "flatten")
BODY = ""  # the name of the body among its own modules
EXAMPLES = 2
Pool = Literal["avg", "max", "none", "flatten"]


@dataclass(frozen=True)
class Layer:
    """One layer as it was asked for and as it was found.

    Attributes:
        name: As it was asked for: a module, a stage, or `penultimate`.
        module: Name of the module in the body whose last output it is; empty for the body itself.
        shape: Of that output for one image, as (C, H, W), (tokens, C) or (D,).
        is_channels_last: Whether the module gives (N, H, W, C).
    """

    name: str
    module: str
    shape: tuple[int, ...]
    is_channels_last: bool = False

    def shape_after(self, pool: Pool) -> tuple[int, ...]:
        """Of the features of one image."""
        return tuple(pooled(torch.zeros(1, *self.shape), pool).shape[1:])


def module_of(classifier: Classifier, name: str) -> str:
    """The module whose output a layer's name means: a module, the last module of a stage, or the body.

    Raises:
        TransferkitError: If there is no such layer; names the nearest ones.
    """
    if name == PENULTIMATE:
        return BODY
    modules = {module for module, _ in classifier.body.named_modules() if module}
    if name in modules:
        return name
    if name in classifier.stages:
        return [prefix for prefix in classifier.stages[name] if prefix in modules][-1]
    options = {PENULTIMATE, *classifier.stages, *modules}
    raise TransferkitError(f"Unknown layer {name!r}. {did_you_mean(name, options)} `transferkit layers` lists all.")


def found_layer(name: str, module: str, output: Any) -> Layer:
    """What a layer gives.

    Raises:
        TransferkitError: If the layer was not reached, or does not give one tensor row per image.
    """
    if output is None:
        raise TransferkitError(f"Layer {name!r} is never called in the forward pass of this network. Choose another.")
    if not isinstance(output, Tensor):
        around = module.rpartition(".")[0]
        advice = f"the layer around it, {around!r}" if around else "another"
        raise TransferkitError(f"Layer {name!r} gives a {type(output).__name__}, not a tensor. Choose {advice}.")
    if output.ndim < 2 or len(output) != EXAMPLES:
        raise TransferkitError(
            f"Layer {name!r} gives {tuple(output.shape)} for {EXAMPLES} images, which is not one row per image. "
            "Choose the layer around it."
        )
    is_last = has_channels_last(output.shape[1:])
    return Layer(name, module, tuple(channels_first(output, is_last).shape[1:]), is_last)


def channels_first(maps: Tensor, is_channels_last: bool) -> Tensor:
    """(N, C, H, W) from maps of either layout."""
    return maps.permute(0, 3, 1, 2) if is_channels_last else maps


def require_pool(pool: str) -> None:
    """Refuse an unknown pooling.

    Raises:
        TransferkitError: Lists the known ones.
    """
    if pool not in POOLS:
        raise TransferkitError(f"Unknown pool {pool!r}. {did_you_mean(pool, POOLS)}")


def pooled(features: Tensor, pool: Pool) -> Tensor:
    """Features (N, D) from maps (N, C, H, W), tokens (N, T, C) or what is (N, D) already; `none` leaves them.

    Maps are pooled over H and W, tokens over T.
    """
    if pool == "none" or features.ndim == 2:
        return features
    if pool == "flatten" or features.ndim > 4:
        return features.flatten(1)  # (N, C, H, W) -> (N, C * H * W)
    over = (2, 3) if features.ndim == 4 else (1,)
    return features.mean(over) if pool == "avg" else features.amax(over)
