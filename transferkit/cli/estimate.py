"""Time and memory of a run before it starts, from one timed step on this machine; nothing is downloaded."""

from __future__ import annotations

import time

import torch

from transferkit import backbones, defaults, runtime
from transferkit import budget as budgets
from transferkit.classifier import Classifier
from transferkit.datasets import folder_layout
from transferkit.recipe import Data, DigitsData, FolderData, GlyphsData, Method, ProbeSettings, Recipe
from transferkit.screen import SILENT

TIMED_IMAGES = 32
CLASSES = 10  # of the timed head; its size hardly matters
KNOWN = {  # labelled and test images, side in px
    "cifar10": (50_000, 10_000, 32),
    "cifar100": (50_000, 10_000, 32),
    "svhn": (73_257, 26_032, 32),
}
DIGITS, DIGIT_PX = 1_797, 8


def estimate(recipe: Recipe) -> str:
    """One paragraph: how many images, how long, how much memory.

    Raises:
        TransferkitError: If the folder, the backbone or the device is not there.
    """
    machine = runtime.start(recipe.device, recipe.precision, recipe.threads)
    labelled, tested, side = outline(recipe.data)
    full = defaults.resolved(recipe, labelled, side)
    size = full.method.size
    assert isinstance(size, int)
    bare = full.backbone.model_copy(update={"weights": "none"})
    names = [str(label) for label in range(CLASSES)]
    classifier = backbones.load(bare, names, size, SILENT).to(machine.device)
    forward, step = seconds_per_image(classifier, side, machine)
    shown, length = training_length(full.method, labelled)
    probed = isinstance(full.method, ProbeSettings) or getattr(full.method, "head", "") == "probe"
    networks = 2 if getattr(full.method, "layers", None) else 1  # a random copy passes over the images too
    seconds = (length if shown is None else shown * step) + (labelled * probed + tested) * forward * networks
    parameters = sum(parameter.numel() for parameter in classifier.parameters())
    gigabytes = (parameters * 4 * 4 + (labelled + tested) * 3 * side * side) / 1e9
    work = f"{labelled:,} labelled and {tested:,} test images, {in_words(full.method)} at {size} px"
    where = f"about {duration(seconds)} on {runtime.device_name(machine.device)}"
    memory = f"{gigabytes:.1f} GB for weights, optimiser state and pixels, besides one batch of activations"
    return f"Estimate: {work}, {where}; {memory}. Timed on one small batch, so expect a factor of two."


def training_length(method: Method, num_images: int) -> tuple[float | None, float]:
    """The images that a training shows; None where the clock decides, and then the seconds it is given."""
    if isinstance(method, ProbeSettings):
        return 0, 0
    budget = budgets.read(method.budget) if method.budget else None
    if budget is None:
        return num_images * (method.epochs or 0), 0
    if budget.kind == "seconds":
        return None, budget.amount
    return budget.amount * min(method.batch_size or num_images, num_images), 0


def in_words(method: Method) -> str:
    """The length of a method, as the recipe says it."""
    if isinstance(method, ProbeSettings):
        return "0 epochs"
    return method.budget or f"{method.epochs} epochs"


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
    layout = folder_layout.find(data.path)
    tested = len(layout.test.files) if layout.test else 0
    labelled = len(layout.files) - tested
    if not tested:
        tested = round(labelled * data.test_fraction)
        labelled -= tested
    side = data.storage if isinstance(data.storage, int) else 128
    return labelled, tested, side


def seconds_per_image(classifier: Classifier, side: int, machine: runtime.Runtime) -> tuple[float, float]:
    """Seconds of a forward pass and of a whole training step, per image."""
    images = torch.randint(0, 256, (TIMED_IMAGES, 3, side, side), dtype=torch.uint8, device=machine.device)

    def forward() -> None:
        with torch.inference_mode(), machine.autocast():
            classifier.eval()(images)

    def step() -> None:
        with machine.autocast():
            loss = classifier.train()(images).float().logsumexp(1).mean()
        loss.backward()

    return _timed(forward, machine), _timed(step, machine)


def _timed(work: object, machine: runtime.Runtime) -> float:
    assert callable(work)
    work()
    _wait(machine)
    started = time.perf_counter()
    work()
    _wait(machine)
    return (time.perf_counter() - started) / TIMED_IMAGES


def _wait(machine: runtime.Runtime) -> None:
    if machine.device.type == "cuda":
        torch.cuda.synchronize(machine.device)


def duration(seconds: float) -> str:
    """Seconds as a person says them.

    Example:
        >>> duration(20), duration(400), duration(9000)
        ('20 s', '7 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
