"""The classifier of a finished run, built again from its folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from transferkit.models import backbones, heads
from transferkit.models.classifier import Classifier, WeightsRecord
from transferkit.models.preparation import InputSpec
from transferkit.recipe import BackboneSettings, backbone_settings
from transferkit.runs.run_directory import Run
from transferkit.runtime.console import SILENT
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.files import read_tensors

if TYPE_CHECKING:
    pass


def load_classifier(run: Run) -> Classifier:
    """The classifier of a run, from its files alone; no weights are looked up elsewhere.

    Raises:
        TransferkitError: If its files are damaged or do not belong together.
    """
    tensors, _ = read_tensors(run.path / "model.safetensors")
    return rebuild_classifier(run.model, tensors, run.path.resolve().name)


def rebuild_classifier(facts: Mapping[str, Any], tensors: Mapping[str, Any], run_name: str) -> Classifier:
    """A classifier from what model.json says of it and from its weights and buffers.

    Raises:
        TransferkitError: If they do not belong together.
    """
    settings = _backbone(facts, run_name)
    prepared = {key: facts["input"][key] for key in ("size", "interpolation", "crop") if key in facts["input"]}
    spec = InputSpec(**prepared, mean=tuple(facts["input"]["mean"]), std=tuple(facts["input"]["std"]))
    bare = backbones.load(settings, facts["class_names"], spec.size, SILENT)
    record = WeightsRecord(**facts["weights"]) if facts.get("weights") else bare.weights
    classifier = Classifier(bare.body, bare.num_features, bare.class_names, bare.stages, spec, record)
    classifier.backbone = f"{settings.name}, run {run_name}"
    classifier.averages_mirror = bool(facts.get("averages_mirror"))
    classifier.averages_shifts = bool(facts.get("averages_shifts"))
    classifier.head = heads.rebuilt(facts.get("head", {}), classifier.num_features, len(classifier.class_names))
    try:
        classifier.load_state_dict(tensors)
    except RuntimeError as error:
        problem = (str(error).splitlines()[1:2] or [str(error)])[0].strip()
        raise TransferkitError(
            f"Run {run_name}: model.safetensors does not hold the network that model.json describes: {problem}"
        ) from error
    return classifier


def _backbone(facts: Mapping[str, Any], run_name: str) -> BackboneSettings:
    try:
        return backbone_settings({**facts["backbone"], "weights": "none"})
    except ValidationError as error:
        problem = error.errors()[0]["msg"]
        raise TransferkitError(f"Run {run_name}: model.json is damaged: of the backbone, {problem}.") from error
