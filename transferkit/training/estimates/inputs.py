"""What a run needs, seen before it starts: its images, and what has to be downloaded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from transferkit.data import datasets
from transferkit.models import backbones
from transferkit.recipe import DataSettings, Recipe
from transferkit.runs.checks.early import findings_of_folders
from transferkit.runtime.console import SILENT
from transferkit.runtime.errors import TransferkitError
from transferkit.training import defaults, methods


def outline(data: DataSettings) -> tuple[int, int, int]:
    """Labelled images (train and val), test images and the side in px, without decoding or downloading."""
    known, limit = datasets.outline(data), data.limit_per_class
    labelled = min(known.labelled, limit * known.classes) if limit else known.labelled
    held_out = labelled // data.folds if data.folds else 0
    return labelled - held_out, held_out or known.tested, known.px


def inputs_in_words(recipes: Iterable[Recipe]) -> list[str]:
    """What is seen of folders' names, classes and files, and what would be downloaded, each once.

    Raises:
        TransferkitError: If a folder has no classes, or the files of a data set are not where they should be.
    """
    recipes = list(recipes)
    data = {recipe.data.model_dump_json(): recipe.data for recipe in recipes}.values()
    places = {str(recipe.data.own_files): recipe for recipe in recipes}.values()
    lines = [line for recipe in places for line in (*datasets.seen_in_words(recipe.data), *findings_of_folders(recipe))]
    downloads: dict[str, str] = {
        part.name: f"{part.name} ({size} MB)" for part in data if (size := datasets.download_mb(part))
    }
    pretrained = {recipe.backbone.name: recipe for recipe in recipes if recipe.starting_backbone.weights == "imagenet"}
    downloads |= {
        name: f"ImageNet weights of {name} (about {_weights_mb(recipe)} MB)"
        for name, recipe in pretrained.items()
        if backbones.lookup(recipe.backbone).lacks_weights()
    }
    return [*lines, f"To be downloaded: {', '.join(downloads.values())}."] if downloads else lines


def _weights_mb(recipe: Recipe) -> int:
    """Megabytes of a network's weights in fp32, without the head."""
    full = resolved_as_run(recipe)
    network = backbones.load_undrawn(full.backbone, ("one", "two"), full.input_px)
    return round(sum(float(tensor.nbytes) for tensor in network.body.state_dict().values()) / 1e6)


def require_weights(recipe: Recipe) -> None:
    """Try weights of a file, a run or a package on the network.

    Raises:
        TransferkitError: If there are none, or they do not fit.
    """
    full = resolved_as_run(recipe)
    backbones.require(full.backbone)
    if full.backbone.weights_are_on_disk:
        backbones.load(full.backbone, ("one", "two"), full.input_px, SILENT)


def require_runnable(recipes: Mapping[str, Recipe]) -> None:
    """Refuse, before the first of several recipes begins, all those that cannot be carried out.

    Raises:
        TransferkitError: Names each recipe whose weights, size, stages or layers do not go with its network.
        MachineError: If weights on a hub are not here and cannot be downloaded.
    """
    mistakes: dict[str, list[str]] = {}
    for name, recipe in recipes.items():
        try:
            require_network(recipe)
        except TransferkitError as error:
            mistakes.setdefault(str(error), []).append(name)
    if mistakes:
        lines = [f"{', '.join(names)}: {why}" for why, names in mistakes.items()]
        raise TransferkitError("\n".join([*lines, "Nothing was begun."]))


def require_network(recipe: Recipe) -> None:
    """Build the network as the run will, without downloading its weights, and ask the method whether it takes it.

    How many images there will be in train and val is not known yet: what has too few of them is told by its run.

    Raises:
        TransferkitError: If weights, size, stages or layers do not go together.
    """
    full = resolved_as_run(recipe)
    backbones.require(full.backbone)
    labelled, _, _ = outline(recipe.data)
    if full.backbone.weights_are_on_disk:
        classifier = backbones.load(full.backbone, ("one", "two"), full.input_px, SILENT)
    else:
        classifier = backbones.load_undrawn(full.backbone, ("one", "two"), full.input_px)
    methods.require(classifier, full.method, labelled, labelled)


def resolved_as_run(recipe: Recipe) -> Recipe:
    """The recipe as the run will resolve it: for the training images without val, at their own side."""
    labelled, _, side = outline(recipe.data)
    return defaults.resolved(recipe, labelled - round(labelled * recipe.data.val_fraction), side)
