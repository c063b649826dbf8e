"""A method that somebody adds: its keys and what it does in one file; its one line stands in `METHOD_MODELS`."""

from __future__ import annotations

from typing import Literal

import torch

from transferkit.data.images import Splits
from transferkit.features.fast_classifier import collect
from transferkit.models.classifier import Classifier
from transferkit.recipe import BackboneSettings, MethodSettings
from transferkit.runtime.context import Context
from transferkit.training.methods.fitted import Fitted


class ToySettings(MethodSettings):
    """It needs neither rates nor epochs."""

    module = "toy_method"
    about = "Answer every image with the shares of the classes."
    subject = "A toy on {}"
    noun = "A toy"

    name: Literal["toy"] = "toy"
    size: int = 16

    @property
    def in_words(self) -> str:
        return "shares of the classes"


def require(classifier: Classifier, _settings: ToySettings, train_images: int, _val_images: int) -> None:
    assert train_images >= len(classifier.class_names)


def fit(
    classifier: Classifier, splits: Splits, _settings: ToySettings, _backbone: BackboneSettings, context: Context
) -> Fitted:
    """Give the head as bias the logarithm of each class's share of train."""
    shares = torch.bincount(torch.from_numpy(splits.train.labels).long()).double() / len(splits.train)
    classifier.set_head(torch.zeros(len(shares), classifier.num_features), shares.log().float())
    return Fitted(collect(classifier, splits.val, context.runtime, context.console, "val"), [])
