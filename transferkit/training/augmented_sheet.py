"""A sheet of training images with augmented copies: of a run, and by a dry run before it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from transferkit.data import datasets
from transferkit.data.augmented_examples import SHOWN, augmented_examples
from transferkit.data.batches import ShiftAndFlip
from transferkit.data.images import Images
from transferkit.recipe import Recipe
from transferkit.runtime import cached_files
from transferkit.runtime.cache_place import cache_folder
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.files import write_atomically
from transferkit.training import defaults
from transferkit.training.estimates.inputs import outline

PIXELS_PER_PIXEL = 2  # small pictures are hard to see


def sheet_of(complete: Recipe, train: Images) -> npt.NDArray[np.uint8] | None:
    """(3, h, w), some training images with augmented copies; None where the method takes no steps.

    Args:
        complete: The recipe with every default written out.
        train: The training images, or a few of them.
    """
    if (training := complete.method.training) is None:
        return None
    moves = ShiftAndFlip(training.shift or 0.0, bool(training.flip))
    return augmented_examples(train, moves, training.augment, complete.seed)


def draw_before(recipe: Recipe) -> list[str]:
    """Draw the sheet of a run that is still to come into a file of the cache, and say where: a line, or none.

    Where images would have to be downloaded first, or a file cannot be read, the line says so instead.
    """
    if not recipe.method.model_dump().get("augment"):
        return []
    if datasets.download_mb(recipe.data):
        return ["What augment makes of the images can be seen once they are downloaded."]
    path = cache_folder() / "sheets" / f"{recipe.default_folder.name}.png"
    try:
        drawn = sheet_of(*_with_images(recipe))
    except TransferkitError as error:
        return [f"What augment makes of the images cannot be shown: {error}"]
    if drawn is None:
        return []
    write(drawn, path)
    return [f"What augment makes of your images: {path}"]


def _with_images(recipe: Recipe) -> tuple[Recipe, Images]:
    """The recipe as its run will resolve it, and a few of its training images."""
    shown = datasets.few(recipe.data, SHOWN)
    labelled, _, _ = outline(recipe.data)
    count = labelled - round(labelled * recipe.data.val_fraction)
    return defaults.resolved(recipe, count, min(shown.size_px), shown.class_names), shown


def write(sheet: npt.NDArray[np.uint8], path: Path) -> None:
    """Leave a sheet (3, h, w) as a picture of twice its size."""
    larger = sheet.repeat(PIXELS_PER_PIXEL, axis=1).repeat(PIXELS_PER_PIXEL, axis=2).transpose(1, 2, 0)
    cached_files.will_write(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda temporary: Image.fromarray(np.ascontiguousarray(larger)).save(temporary, "PNG"))
