"""Backbones are checked before a study or a ranking of hours begins."""

from __future__ import annotations

from transferkit import backbones
from transferkit.backbones.cards import CARDS
from transferkit.errors import TransferkitError
from transferkit.recipe import BackboneSettings


def require_known(backbone: BackboneSettings) -> None:
    """Refuse what cannot work, before any work.

    Raises:
        TransferkitError: If there is no such backbone, it has no such weights, or their file is not there.
    """
    backbones.require(backbone)
    if backbone.name in CARDS and backbone.weights == "imagenet" and CARDS[backbone.name].top1 is None:
        raise TransferkitError(
            f"{backbone.name} has no ImageNet weights. Write {backbone.name}=none for random ones, or "
            f"{backbone.name}=FILE."
        )
