"""The menu of methods: each is a module with `fit(classifier, splits, settings, job) -> Fitted`."""

from __future__ import annotations

from transferkit.classifier import Classifier
from transferkit.images import Splits
from transferkit.job import Job
from transferkit.methods import finetune, layer_probes, probe, scratch
from transferkit.methods.fitted import Fitted
from transferkit.recipe import BackboneSettings, FinetuneSettings, Method, ProbeSettings, TrainingSettings
from transferkit.solvers import require_neighbours
from transferkit.training import require_choice

METHODS = {"scratch": scratch, "probe": probe, "finetune": finetune}


def require(classifier: Classifier, settings: Method, train_images: int, val_images: int) -> None:
    """Check what can be known before any work.

    Raises:
        TransferkitError: If the backbone has no such stage or layer, or train or val is too small for what is asked.
    """
    if isinstance(settings, TrainingSettings):
        require_choice(settings, val_images)
    if isinstance(settings, FinetuneSettings) and settings.freeze_to is not None:
        classifier.require_stage(settings.freeze_to)
    if isinstance(settings, ProbeSettings) and settings.layers:
        layer_probes.probed_layers(classifier, settings.layers)
    if isinstance(settings, ProbeSettings) and settings.k is not None:
        require_neighbours(settings.k, train_images)


def fit(classifier: Classifier, splits: Splits, method: Method, backbone: BackboneSettings, job: Job) -> Fitted:
    """Change the classifier as the method says, from train and val alone, and tell how it went.

    Args:
        classifier: As the backbone's settings made it.
        splits: Of which test stays closed.
        method: What to do.
        backbone: From which a probe of several layers makes its random copy.
        job: Where it computes, and from which seed.
    """
    if isinstance(method, ProbeSettings) and method.layers:
        return layer_probes.fit(classifier, splits, method, backbone, job)
    if isinstance(method, ProbeSettings):
        return probe.fit(classifier, splits, method, job)
    if isinstance(method, FinetuneSettings):
        return finetune.fit(classifier, splits, method, job)
    return scratch.fit(classifier, splits, method, job)
