"""The menu of methods: each is a module with `fit(classifier, splits, settings, backbone, context) -> Fitted`."""

from __future__ import annotations

from typing import Any, Protocol

from transferkit.data.images import Splits
from transferkit.models.classifier import Classifier
from transferkit.recipe import BackboneSettings, Method, of_method
from transferkit.runtime.context import Context
from transferkit.training.methods import finetune, probe, scratch
from transferkit.training.methods.fitted import Fitted


class MethodModule(Protocol):
    """What a method consists of."""

    def require(self, classifier: Classifier, settings: Any, train_images: int, val_images: int, /) -> None:
        """Check what can be known before any work."""

    def fit(
        self, classifier: Classifier, splits: Splits, settings: Any, backbone: BackboneSettings, context: Context, /
    ) -> Fitted:
        """Change the classifier, from train and val alone."""


METHODS: dict[str, MethodModule] = {"scratch": scratch, "probe": probe, "finetune": finetune}


def require(classifier: Classifier, settings: Method, train_images: int, val_images: int) -> None:
    """Check what can be known before any work.

    Raises:
        TransferkitError: If the menu has no such method, the backbone has no such stage or layer, or train or val is
            too small for what is asked.
    """
    of_method(METHODS, settings.name).require(classifier, settings, train_images, val_images)


def fit(classifier: Classifier, splits: Splits, method: Method, backbone: BackboneSettings, context: Context) -> Fitted:
    """Change the classifier as the method says, from train and val alone, and tell how it went.

    Args:
        classifier: As the backbone's settings made it.
        splits: Of which test stays closed.
        method: What to do.
        backbone: From which a probe of several layers makes its random copy.
        context: Where it computes, and from which seed.

    Raises:
        TransferkitError: If the menu has no such method; names those it has.
    """
    return of_method(METHODS, method.name).fit(classifier, splits, method, backbone, context)
