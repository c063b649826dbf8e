"""The one way in which the teaching tools name a network: a backbone's name, or a run."""

from __future__ import annotations

from dataclasses import dataclass

from transferkit.models import backbones
from transferkit.models.classifier import Classifier
from transferkit.models.stored_model import FILE as MODEL
from transferkit.recipe import BackboneSettings
from transferkit.recipe.references import is_reference, run_folder
from transferkit.runs.run_directory import open_run
from transferkit.runs.stored_classifier import load_classifier
from transferkit.runtime.console import Console

SMALL_PX, USUAL_PX = 32, 224


@dataclass(frozen=True)
class NamedNetwork:
    """A network, and the name of its backbone."""

    name: str
    classifier: Classifier


def named_network(reference: str, weights: str, size: int | None, console: Console) -> NamedNetwork:
    """The network that a user means.

    Args:
        reference: A run's folder, @last, @2 ..., which bring their weights; else the name of a backbone.
        weights: Of a backbone: imagenet, none, a file or a run's folder.
        size: Side of the input in px; None takes the run's, or what suits the backbone.
        console: Hears about downloads.

    Raises:
        TransferkitError: If it is neither a finished run nor a backbone.
    """
    folder = run_folder(reference)
    if is_reference(reference) or (folder / MODEL).is_file():
        run = open_run(folder)
        return NamedNetwork(run.recipe.backbone.name, load_classifier(run).eval())
    px = size or (SMALL_PX if backbones.card(reference).source == "small" else USUAL_PX)
    settings = BackboneSettings(name=reference, weights=weights, stem="imagenet")
    return NamedNetwork(reference, backbones.load(settings, ("one", "two"), px, console).eval())
