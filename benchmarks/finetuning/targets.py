"""The images of a setting, drawn by seed: a folder of links for transferkit, the same files in memory for rivals."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from finetuning.images import SUFFIXES, Labelled, folder_images
from finetuning.settings import Setting

ByClass = dict[str, list[Path]]
SHAPES = ("circle", "square", "triangle", "cross", "ring", "bars")


@dataclass(frozen=True)
class Target:
    """Where the images of a target come from.

    Attributes:
        files: From the folder of data and the bench's own folder to the files to learn from and to test with.
        side: In px, at which images are read.
    """

    files: Callable[[Path, Path], tuple[ByClass, ByClass]]
    side: int


@dataclass(frozen=True)
class Task:
    """What an arm is given: a folder with train and test, and the same images in memory."""

    folder: Path
    train: Labelled
    test: Labelled


def draw(setting: Setting, seed: int, data: Path, cache: Path) -> Task:
    """The images of one row and seed: labels drawn anew for every seed, the same test images for all of them."""
    target = TARGETS[setting.target]
    folder = cache / "images" / f"{setting.key}-{seed}"
    if not folder.exists():
        pool, test = target.files(data, cache)
        _link(drawn(pool, test, setting, seed), folder)
    train, test_images = (folder_images(folder / part, target.side) for part in ("train", "test"))
    return Task(folder, train, test_images)


def drawn(pool: ByClass, test: ByClass, setting: Setting, seed: int) -> dict[str, ByClass]:
    """The files of train, chosen by `seed`, and of test, which every seed shares."""
    learning, fixed = np.random.default_rng([seed, 1]), np.random.default_rng(0)
    classes = sorted(pool)
    per_class = setting.test // len(classes)
    return {
        "train": {
            name: _some(pool[name], setting.labels_of(position, len(classes)), learning)
            for position, name in enumerate(classes)
        },
        "test": {name: _some(test[name], per_class, fixed) for name in classes},
    }


def _some(files: list[Path], count: int | None, generator: np.random.Generator) -> list[Path]:
    if count is not None and len(files) < count:
        count = len(files)
    return [files[index] for index in sorted(generator.permutation(len(files))[:count])]


def _link(parts: dict[str, ByClass], folder: Path) -> None:
    """Links to the files, there all at once or not at all."""
    draft = folder.with_name(f"{folder.name}.{uuid.uuid4().hex}")
    for part, by_class in parts.items():
        for name, files in by_class.items():
            place = draft / part / name
            place.mkdir(parents=True)
            for path in files:
                (place / path.name).symlink_to(path.resolve())
    _appear(draft, folder)


def _appear(draft: Path, folder: Path) -> None:
    try:
        os.rename(draft, folder)
    except OSError:  # another worker was faster
        shutil.rmtree(draft)


# ---------------------------------------------------------------------------------------------------------- sources


def by_class(folder: Path) -> ByClass:
    """The image files of each class folder.

    Raises:
        SystemExit: If there is no such folder; says how to name one.
    """
    if not folder.is_dir():
        raise SystemExit(f"{folder} is missing. Name the folder of data with --data, or TRANSFERKIT_TEST_DATA.")
    places = sorted(path for path in folder.iterdir() if path.is_dir())
    return {path.name: sorted(one for one in path.iterdir() if one.suffix.lower() in SUFFIXES) for path in places}


def with_parts(name: str) -> Callable[[Path, Path], tuple[ByClass, ByClass]]:
    """A data set that comes with train and test."""
    return lambda data, _: (by_class(data / name / "train"), by_class(data / name / "test"))


def without_parts(
    name: str, test_share: float, classes: int | None = None
) -> Callable[[Path, Path], tuple[ByClass, ByClass]]:
    """A data set of class folders alone: a fixed share of each becomes test; perhaps only every so-manieth class."""

    def files(data: Path, _: Path) -> tuple[ByClass, ByClass]:
        found = by_class(data / name)
        names = sorted(found)[:: len(found) // classes][:classes] if classes else sorted(found)
        return halves({name: found[name] for name in names}, test_share)

    return files


def halves(found: ByClass, test_share: float) -> tuple[ByClass, ByClass]:
    """Each class in two parts, at random from a fixed seed."""
    generator = np.random.default_rng(0)
    pool: ByClass = {}
    test: ByClass = {}
    for name, files in found.items():
        order = [files[index] for index in generator.permutation(len(files))]
        cut = round(len(files) * test_share)
        test[name], pool[name] = sorted(order[:cut]), sorted(order[cut:])
    return pool, test


def made(
    name: str, write: Callable[[Path], None], test_share: float
) -> Callable[[Path, Path], tuple[ByClass, ByClass]]:
    """Images that the bench writes itself, once."""

    def files(_: Path, cache: Path) -> tuple[ByClass, ByClass]:
        folder = cache / "made" / name
        if not folder.exists():
            draft = folder.with_name(f"{name}.{uuid.uuid4().hex}")
            write(draft)
            _appear(draft, folder)
        return halves(by_class(folder), test_share)

    return files


def write_digits(folder: Path) -> None:
    """scikit-learn's 1,797 digits of 8 x 8 px."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    for number, (image, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        place = folder / str(label)
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray((image * 255 / 16).astype(np.uint8)).save(place / f"{number:04d}.png")


def write_shapes(folder: Path, per_class: int = 500, side: int = 48) -> None:
    """Six shapes in grey on grey, of any size, place and contrast, with noise."""
    for label, name in enumerate(SHAPES):
        place = folder / name
        place.mkdir(parents=True)
        for number in range(per_class):
            shape(name, np.random.default_rng([label, number]), side).save(place / f"{number:04d}.png")


def shape(name: str, generator: np.random.Generator, side: int) -> Image.Image:
    """One picture of a shape; ground and ink may be any two greys."""
    ground, ink = (int(value) for value in generator.integers(0, 256, 2))
    image = Image.new("L", (side, side), ground)
    size = int(side * generator.uniform(0.4, 0.8))
    left, top = (int(value) for value in generator.integers(0, side - size + 1, 2))
    DRAWERS[name](ImageDraw.Draw(image), left, top, size, ink)
    noisy = np.asarray(image).astype(int) + generator.integers(-12, 13, (side, side))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def _cross(draw: ImageDraw.ImageDraw, x: int, y: int, size: int, ink: int) -> None:
    middle, half = size // 2, max(1, size // 8)
    draw.rectangle((x + middle - half, y, x + middle + half, y + size), fill=ink)
    draw.rectangle((x, y + middle - half, x + size, y + middle + half), fill=ink)


def _bars(draw: ImageDraw.ImageDraw, x: int, y: int, size: int, ink: int) -> None:
    for number in range(3):
        top = y + number * size // 3
        draw.rectangle((x, top, x + size, top + size // 6), fill=ink)


def _box(x: int, y: int, size: int) -> tuple[int, int, int, int]:
    return x, y, x + size, y + size


DRAWERS: dict[str, Callable[[ImageDraw.ImageDraw, int, int, int, int], None]] = {
    "circle": lambda draw, x, y, size, ink: draw.ellipse(_box(x, y, size), fill=ink),
    "square": lambda draw, x, y, size, ink: draw.rectangle(_box(x, y, size), fill=ink),
    "triangle": lambda draw, x, y, size, ink: draw.polygon(
        [(x, y + size), (x + size, y + size), (x + size // 2, y)], fill=ink
    ),
    "cross": _cross,
    "ring": lambda draw, x, y, size, ink: draw.ellipse(_box(x, y, size), outline=ink, width=max(2, size // 6)),
    "bars": _bars,
}

TARGETS = {
    "cifar10": Target(with_parts("cifar10"), 32),
    "tiny-imagenet": Target(without_parts("tiny-imagenet-val", 0.5), 64),
    "tiny-imagenet-20": Target(without_parts("tiny-imagenet-val", 0.5, classes=20), 64),
    "textures": Target(without_parts("textures", 0.5), 128),
    "shapes": Target(made("shapes", write_shapes, 0.8), 48),
    "digits": Target(made("digits", write_digits, 0.5), 8),
}
