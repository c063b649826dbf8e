"""The menu of methods: each is a module with `fit(classifier, splits, settings, backbone, job) -> Fitted`."""

from __future__ import annotations

from typing import Any, Protocol

from transferkit.classifier import Classifier
from transferkit.images import Splits
from transferkit.job import Job
from transferkit.methods import finetune, probe, scratch
from transferkit.methods.fitted import Fitted
from transferkit.recipe import BackboneSettings, Method, of_method


class MethodModule(Protocol):
    """What a method consists of."""

    def require(self, classifier: Classifier, settings: Any, train_images: int, val_images: int, /) -> None:
        """Check what can be known before any work."""

    def fit(
        self, classifier: Classifier, splits: Splits, settings: Any, backbone: BackboneSettings, job: Job, /
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


def fit(classifier: Classifier, splits: Splits, method: Method, backbone: BackboneSettings, job: Job) -> Fitted:
    """Change the classifier as the method says, from train and val alone, and tell how it went.

    Args:
        classifier: As the backbone's settings made it.
        splits: Of which test stays closed.
        method: What to do.
        backbone: From which a probe of several layers makes its random copy.
        job: Where it computes, and from which seed.

    Raises:
        TransferkitError: If the menu has no such method; names those it has.
    """
    return of_method(METHODS, method.name).fit(classifier, splits, method, backbone, job)
