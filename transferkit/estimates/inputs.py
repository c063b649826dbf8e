"""What a run needs, seen before it starts: its images, and what has to be downloaded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from transferkit.data import datasets
from transferkit.data.datasets import layouts
from transferkit.data.datasets.folder_cache import automatic_size
from transferkit.data.datasets.layout import LISTED
from transferkit.data.decoding import short_side
from transferkit.models import backbones
from transferkit.recipe import Data, DigitsData, FolderData, GlyphsData, Recipe
from transferkit.runtime.console import SILENT
from transferkit.training import defaults

LOOKED_AT = 1_000  # files of a folder that a dry run opens, evenly spaced
KNOWN = {  # labelled and test images, side in px
    "cifar10": (50_000, 10_000, 32),
    "cifar100": (50_000, 10_000, 32),
    "svhn": (73_257, 26_032, 32),
}
DIGITS, DIGIT_PX = 1_797, 8


def outline(data: Data) -> tuple[int, int, int]:
    """Labelled images (train and val), test images and the side in px, without decoding or downloading."""
    if isinstance(data, FolderData):
        labelled, tested, side = _folder_outline(data)
    elif isinstance(data, GlyphsData):
        labelled, tested, side = *_divided(26 * data.per_class, data.test_fraction), data.size
    elif isinstance(data, DigitsData):
        labelled, tested, side = *_divided(DIGITS, data.test_fraction), DIGIT_PX
    else:
        labelled, tested, side = KNOWN[data.name]
    classes = 100 if data.name == "cifar100" else 10
    limit = data.limit_per_class
    return (min(labelled, limit * classes) if limit else labelled), tested, side


def _divided(images: int, test_fraction: float) -> tuple[int, int]:
    tested = round(images * test_fraction)
    return images - tested, tested


def _folder_outline(data: FolderData) -> tuple[int, int, int]:
    layout = layouts.find(data)
    tested = len(layout.test.files) if layout.test else 0
    labelled = len(layout.files) - tested
    if not tested:
        tested = round(labelled * data.test_fraction)
        labelled -= tested
    paths = [str(layout.root / file.path) for file in layout.files]
    side = data.storage if isinstance(data.storage, int) else automatic_size(paths)
    return labelled, tested, side


def inputs_in_words(recipes: Iterable[Recipe]) -> list[str]:
    """What is seen of folders' classes and files, and what would be downloaded, each once.

    Raises:
        TransferkitError: If a folder has no classes, or the files of a data set are not where they should be.
    """
    recipes = list(recipes)
    data = {recipe.data.model_dump_json(): recipe.data for recipe in recipes}.values()
    folders = {str(part.path): part for part in data if isinstance(part, FolderData)}.values()
    lines = [line for folder in folders for line in _folder_in_words(folder)]
    downloads: dict[str, str] = {
        part.name: f"{part.name} ({size} MB)" for part in data if (size := datasets.download_mb(part))
    }
    pretrained = {recipe.backbone.name: recipe for recipe in recipes if recipe.starting_backbone.weights == "imagenet"}
    downloads |= {
        name: f"ImageNet weights of {name} (about {_weights_mb(recipe)} MB)"
        for name, recipe in pretrained.items()
        if backbones.lacks_weights(recipe.backbone)
    }
    return [*lines, f"To be downloaded: {', '.join(downloads.values())}."] if downloads else lines


def _weights_mb(recipe: Recipe) -> int:
    """Megabytes of a network's weights in fp32, without the head."""
    full = resolved_as_run(recipe)
    network = backbones.load(
        full.backbone.model_copy(update={"weights": "none"}), ("one", "two"), full.input_px, SILENT
    )
    return round(sum(float(tensor.nbytes) for tensor in network.body.state_dict().values()) / 1e6)


def require_weights(recipe: Recipe) -> None:
    """Try weights of a file, a run or a package on the network.

    Raises:
        TransferkitError: If there are none, or they do not fit.
    """
    full = resolved_as_run(recipe)
    backbones.require(full.backbone)
    if full.backbone.weights not in ("imagenet", "none"):
        backbones.load(full.backbone, ("one", "two"), full.input_px, SILENT)


def resolved_as_run(recipe: Recipe) -> Recipe:
    """The recipe as the run will resolve it: for the training images without val, at their own side."""
    labelled, _, side = outline(recipe.data)
    return defaults.resolved(recipe, labelled - round(labelled * recipe.data.val_fraction), side)


def _folder_in_words(data: FolderData) -> list[str]:
    layout = layouts.find(data)
    counts = Counter(file.label for file in layout.train.files)
    looked_at = layout.files[:: max(1, len(layout.files) // LOOKED_AT)]
    broken = [file.path for file in looked_at if short_side(str(layout.root / file.path)) is None]
    sizes = f"{min(counts.values()):,} to {max(counts.values()):,} training images each"
    lines = [f"Data: {len(counts)} classes, {sizes}; {len(looked_at):,} of {len(layout.files):,} files opened."]
    if broken:
        shown = ", ".join(broken[:LISTED])
        lines.append(f"{len(broken)} of them cannot be read: {shown}. Mend or remove them, or use --skip-bad.")
    return lines
