"""The one way in which the teaching tools name a network: a backbone's name, or a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from transferkit.data import datasets
from transferkit.data.images import Images
from transferkit.models import backbones
from transferkit.models.classifier import Classifier
from transferkit.models.stored_model import FILE as MODEL
from transferkit.models.stored_model import read_model
from transferkit.recipe import BackboneSettings, from_options
from transferkit.recipe.references import is_reference, run_folder
from transferkit.runs.run_directory import open_run
from transferkit.runs.stored_classifier import load_classifier
from transferkit.runtime import machine
from transferkit.runtime.console import Console
from transferkit.runtime.errors import TransferkitError

SMALL_PX, USUAL_PX = 32, 224


@dataclass(frozen=True)
class NamedNetwork:
    """A network, and the name of its backbone."""

    name: str
    classifier: Classifier


def named_network(
    reference: str, weights: str, size: int | None, console: Console, keys: Sequence[str] = ()
) -> NamedNetwork:
    """The network that a user means.

    Args:
        reference: A run's folder, @last, @2 ..., which bring their weights and their shape; else a backbone's name.
        weights: Of a backbone: imagenet, none, a file or a run's folder.
        size: Side of the input in px; None takes the run's, or what suits the backbone.
        console: Hears about downloads.
        keys: `backbone.key=value` of a backbone.

    Raises:
        TransferkitError: If it is neither a finished run nor a backbone, or a run is given keys.
    """
    folder = run_folder(reference)
    if is_reference(reference) or (folder / MODEL).is_file():
        if keys:
            raise TransferkitError(f"{reference} is a run, whose network is settled. Leave {' '.join(keys)} out.")
        run = open_run(folder)
        return NamedNetwork(run.recipe.backbone.name, load_classifier(run).eval())
    options = {"weights": weights, "stem": "imagenet"}
    settings = from_options("probe", reference, "digits", options, keys, "transferkit").backbone
    px = size or suiting_px(settings)
    return NamedNetwork(reference, backbones.load(settings, ("one", "two"), px, console).eval())


def require_backbone(reference: str) -> None:
    """Refuse what is no backbone, where networks are trained from random weights.

    Raises:
        TransferkitError: For a run, whose backbone it names, and for an unknown name.
    """
    folder = run_folder(reference)
    if is_reference(reference) or (folder / MODEL).is_file():
        name = open_run(folder).recipe.backbone.name
        raise TransferkitError(
            f"{reference} is a run. This trains networks from random weights, so name the backbone: {name}"
        )
    backbones.card(reference)


@dataclass(frozen=True)
class RunOnVal:
    """The network of a finished run, its val images, and where to compute."""

    classifier: Classifier
    val: Images
    device: torch.device


def run_on_val(reference: Path, console: Console, device: str) -> RunOnVal:
    """What a tool needs that asks a trained network about images; the test set stays sealed.

    Args:
        reference: A run's folder.
        console: Hears about the images.
        device: auto, cpu, cuda ...

    Raises:
        TransferkitError: If there is no finished run (of a backbone it says how to make one), or it has no val images.
    """
    if not reference.exists() and str(reference) in {card.name for card in backbones.names("")}:
        raise TransferkitError(
            f"{reference} is a backbone; this asks a trained network about images. Train one, as in `transferkit "
            f"scratch {reference} --data YOUR_FOLDER`, and then name @last."
        )
    run = open_run(reference)
    runtime = machine.start(device, run.precision)
    val = datasets.load(run.recipe.data, console).val
    if not len(val):
        raise TransferkitError(f"{reference} was made without val images. Run it again with data.val_fraction=0.1.")
    return RunOnVal(load_classifier(run).to(runtime.device).eval(), val, runtime.device)


def suiting_px(settings: BackboneSettings) -> int:
    """Side of the input in px: that of the run whose weights these are, else what suits the backbone."""
    folder = Path(settings.weights).expanduser()
    if settings.weights_are_on_disk and (folder / MODEL).is_file():
        return read_model(folder).input.size
    return SMALL_PX if backbones.card(settings.name).source == "small" else USUAL_PX
