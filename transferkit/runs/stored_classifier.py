"""The classifier of a finished run, built again from its folder."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from transferkit.models import backbones, heads
from transferkit.models.bands import adapt_stem
from transferkit.models.classifier import Classifier
from transferkit.models.pooled_stages import read_last_stages
from transferkit.models.stored_model import StoredModel
from transferkit.runs.run_directory import Run
from transferkit.runtime.console import SILENT
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.files import read_tensors


def load_classifier(run: Run) -> Classifier:
    """The classifier of a run, from its files alone; no weights are looked up elsewhere.

    Raises:
        TransferkitError: If its files are damaged or do not belong together.
    """
    tensors, _ = read_tensors(run.path / "model.safetensors")
    return rebuild_classifier(run.model, tensors, run.path.resolve().name)


def rebuild_classifier(model: StoredModel, tensors: Mapping[str, Tensor], run_name: str) -> Classifier:
    """A classifier from what model.json says of it and from its weights and buffers.

    Raises:
        TransferkitError: If they do not belong together.
    """
    settings = model.backbone.model_copy(update={"weights": "none"})
    bare = backbones.load(settings, model.class_names, model.input.size, SILENT)
    record = model.weights or bare.weights
    adapt_stem(bare.body, len(model.input.mean), pretrained=False)
    classifier = Classifier(bare.body, bare.num_features, bare.class_names, bare.stages, model.input, record)
    classifier.backbone = f"{settings.name}, run {run_name}"
    classifier.averages_mirror, classifier.averages_shifts = model.averages_mirror, model.averages_shifts
    read_last_stages(classifier, model.last_stages)
    classifier.head = heads.rebuilt(model.head, classifier.num_features, len(classifier.class_names))
    try:
        classifier.load_state_dict(tensors)
    except RuntimeError as error:
        problem = (str(error).splitlines()[1:2] or [str(error)])[0].strip()
        raise TransferkitError(
            f"Run {run_name}: model.safetensors does not hold the network that model.json describes: {problem}"
        ) from error
    return classifier
