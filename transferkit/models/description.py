"""What a classifier says of itself when it is stored."""

from __future__ import annotations

from transferkit.models.classifier import Classifier
from transferkit.models.heads import described
from transferkit.models.stored_model import StoredModel
from transferkit.recipe import BackboneSettings


def describe(classifier: Classifier, backbone: BackboneSettings) -> StoredModel:
    """The facts that travel with a classifier."""
    return StoredModel(
        backbone,
        classifier.class_names,
        classifier.input_spec,
        described(classifier.head),
        num_features=classifier.num_features,
        stages=tuple(classifier.stages),
        weights=classifier.weights,
        averages_mirror=classifier.averages_mirror,
        averages_shifts=classifier.averages_shifts,
        last_stages=classifier.last_stages,
        parameters=sum(parameter.numel() for parameter in classifier.parameters()),
    )
