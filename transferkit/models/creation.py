"""A network by its name, for those who want to look at it or use it in their own loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transferkit.models import backbones
from transferkit.models.classifier import Classifier
from transferkit.recipe import backbone_settings
from transferkit.runtime.console import SILENT


def create(name: str, class_names: Sequence[str], size: int, **keys: Any) -> Classifier:
    """A classifier: a backbone by its name, below a new head with random weights for these classes.

    Args:
        name: Such as `resnet18`, `simple-cnn` or `timm/vit_tiny_patch16_224`.
        class_names: One for each logit.
        size: Side in px that images are resized to, inside the classifier.
        **keys: Keys of a recipe's `backbone`: `weights="none"`, `stem="cifar"`, `blocks=3` ...

    Returns:
        A module that takes (N, 3, H, W) uint8 images of any size and returns (N, C) logits.

    Raises:
        TransferkitError: If backbone, weights or size do not exist or do not go together.
        MachineError: If weights would have to be downloaded and cannot be.
    """
    return backbones.load(backbone_settings({"name": name, **keys}), class_names, size, SILENT)
