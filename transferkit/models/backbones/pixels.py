"""No network at all: the pixels themselves as features, the baseline that any network has to beat."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from transferkit.models.classifier import Classifier
from transferkit.models.stored_model import RANDOM_WEIGHTS, InputSpec
from transferkit.recipe import BackboneSettings
from transferkit.runtime.console import Console
from transferkit.runtime.errors import TransferkitError


def load(settings: BackboneSettings, class_names: Sequence[str], size: int, _screen: Console) -> Classifier:
    """Images resized to `size` px, and their 3 * size * size values in [0, 1] as features; there are no stages.

    Raises:
        TransferkitError: If weights or dropout are asked for.
    """
    if settings.weights != "none" or settings.dropout:
        raise TransferkitError(
            "The backbone pixels has neither weights nor dropout. Leave these keys out, or use none."
        )
    body = nn.Sequential(OrderedDict(flatten=nn.Flatten()))
    spec = InputSpec(size, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    return Classifier(body, 3 * size * size, class_names, {}, spec, RANDOM_WEIGHTS)


def made_for_px(_: BackboneSettings) -> int:
    """The side of CIFAR's images."""
    return 32


def fitting_px(_: BackboneSettings, px: int) -> int:
    """Any side."""
    return px
