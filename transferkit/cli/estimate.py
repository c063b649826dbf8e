"""Time and memory of a run before it starts, from one timed step on this machine; nothing is downloaded."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache

import torch

from transferkit import backbones, defaults, runtime
from transferkit import budget as budgets
from transferkit.classifier import Classifier
from transferkit.datasets import folder_layout
from transferkit.datasets.folder_cache import automatic_size
from transferkit.decoding import short_side
from transferkit.errors import TransferkitError
from transferkit.recipe import (
    Data,
    DigitsData,
    FolderData,
    GlyphsData,
    Method,
    Recipe,
    Study,
    TrainingSettings,
    backbone_settings,
)
from transferkit.screen import SILENT

TIMED_IMAGES = 16
LOOKED_AT = 1_000  # files of a folder that a dry run opens, evenly spaced
MINUTE, LONG_SECONDS = 60, 15 * 60
SHORT_PIXELS = 3e6  # of all images that a run shows: below, no network that we know takes a minute
# EfficientNet-Lite0, ImageNet weights, linear probe on 3,000 labels of CIFAR-10 (JPEGs), judged on 3,000 other training
# images, three draws: 75.1 +- 0.8 % at 128 px, 73.1 +- 0.8 % at 96 px, 64.4 +- 0.6 % at 64 px; fine-tuned, one draw:
# 79.1, 77.2 and 67.9 %. Two cores of an AMD EPYC, bf16, torch 2.14.1, 2026-11-27.
LOSS_AT_96 = "it lost 2.0 points there (probe of EfficientNet-Lite0 on CIFAR-10, n = 3,000, 3 draws of 3,000 labels)"
CLASSES = 10  # of the timed head; its size hardly matters
KNOWN = {  # labelled and test images, side in px
    "cifar10": (50_000, 10_000, 32),
    "cifar100": (50_000, 10_000, 32),
    "svhn": (73_257, 26_032, 32),
}
DIGITS, DIGIT_PX = 1_797, 8


def estimate(recipe: Recipe) -> str:
    """One paragraph: how many images, how long, how much memory, and a cheaper size where it takes long.

    Raises:
        TransferkitError: If the folder, the backbone or the device is not there.
    """
    return _estimated(recipe)[1]


def of_long_run(recipe: Recipe) -> str:
    """The same for a run of more than a minute; empty for a shorter one, most of which are told without timing."""
    full = resolved_as_run(recipe)
    labelled, tested, _ = outline(recipe.data)
    shown = (training_length(full.method, labelled, labelled)[0] or 0) + labelled + tested
    if shown * _size(full) ** 2 < SHORT_PIXELS:
        return ""
    seconds, text = _estimated(recipe)
    return text if seconds > MINUTE else ""


def _estimated(recipe: Recipe) -> tuple[float, str]:
    machine = runtime.start(recipe.device, recipe.precision, recipe.threads)
    labelled, tested, side = outline(recipe.data)
    full = resolved_as_run(recipe)
    forward, step, parameters = timed_network(full.backbone.model_dump_json(), _size(full), side, machine)
    seconds = _seconds(full, labelled, tested, forward, step)
    gigabytes = (parameters * 4 * 4 + (labelled + tested) * 3 * side * side) / 1e9
    work = f"{labelled:,} labelled and {tested:,} test images, {in_words(full.method)} at {_size(full)} px"
    where = f"about {duration(seconds)} on {runtime.device_name(machine.device)}"
    memory = f"{gigabytes:.1f} GB for weights, optimiser state and pixels, besides one batch of activations"
    text = f"Estimate: {work}, {where}; {memory}. Timed on one small batch, so expect a factor of two."
    offer = cheaper_size(seconds, _size(full), is_chosen=recipe.method.size == "auto")
    return seconds, f"{offer}\n{text}" if offer else text


def inputs_in_words(recipe: Recipe) -> list[str]:
    """What a dry run sees of a folder's classes and files; weights of a file or run are tried on the network.

    Raises:
        TransferkitError: If the folder has no classes, or the weights do not fit.
    """
    full = resolved_as_run(recipe)
    if full.backbone.weights not in ("imagenet", "none"):
        backbones.load(full.backbone, ("one", "two"), _size(full), SILENT)
    return _folder_in_words(recipe.data) if isinstance(recipe.data, FolderData) else []


def _folder_in_words(data: FolderData) -> list[str]:
    layout = folder_layout.find(data.path)
    counts = Counter(file.label for file in layout.train.files)
    looked_at = layout.files[:: max(1, len(layout.files) // LOOKED_AT)]
    broken = [file.path for file in looked_at if short_side(str(layout.root / file.path)) is None]
    sizes = f"{min(counts.values()):,} to {max(counts.values()):,} training images each"
    lines = [f"Data: {len(counts)} classes, {sizes}; {len(looked_at):,} of {len(layout.files):,} files opened."]
    if broken:
        shown = ", ".join(broken[: folder_layout.LISTED])
        lines.append(f"{len(broken)} of them cannot be read: {shown}. Mend or remove them, or use --skip-bad.")
    return lines


def estimates(recipes: Mapping[str, Recipe], repeats: int = 1) -> dict[str, str]:
    """One paragraph for each arm of a study or ranking, and how often it is run."""
    times = "" if repeats == 1 else f" {repeats} times, once per seed."
    told: dict[str, str] = {}
    for name, recipe in recipes.items():
        try:
            told[name] = f"{estimate(recipe)}{times}"
        except TransferkitError as error:  # the other arms go on, as they do in the study
            told[name] = f"cannot be estimated: {error}"
    return told


def of_study(study: Study) -> dict[str, str]:
    """One paragraph for what is done before, and for each arm (of a label curve: at each number of labels)."""
    arms = {cell: recipe for cell, seed, recipe in study.recipes() if seed == 0}
    sized = {cell: _as_after(recipe, study.before) for cell, recipe in arms.items()}
    return {**estimates(study.before), **estimates(sized, study.seeds)}


def _as_after(recipe: Recipe, before: Mapping[str, Recipe]) -> Recipe:
    """The recipe with the size that the weights `run:NAME` will bring, and without these weights."""
    kind, _, name = recipe.backbone.weights.partition(":")
    if kind != "run" or name not in before:
        return recipe
    size = recipe.method.size if isinstance(recipe.method.size, int) else _size(resolved_as_run(before[name]))
    method = recipe.method.model_copy(update={"size": size})
    backbone = recipe.backbone.model_copy(update={"weights": "none"})
    return recipe.model_copy(update={"method": method, "backbone": backbone})


def resolved_as_run(recipe: Recipe) -> Recipe:
    """The recipe as the run will resolve it: for the training images without val, at their own side."""
    labelled, _, side = outline(recipe.data)
    return defaults.resolved(recipe, labelled - round(labelled * recipe.data.val_fraction), side)


def _size(full: Recipe) -> int:
    assert isinstance(full.method.size, int)
    return full.method.size


def _seconds(full: Recipe, labelled: int, tested: int, forward: float, step: float) -> float:
    """Training, the passes of a probe, and those over val (after each epoch), over test and over train beside it."""
    shown, length = training_length(full.method, labelled - round(labelled * full.data.val_fraction), labelled)
    statistics = 2 if getattr(full.method, "batchnorm", "") == "auto" else 1  # of which a probe chooses
    probed = statistics * (not isinstance(full.method, TrainingSettings) or getattr(full.method, "head", "") == "probe")
    judged = (getattr(full.method, "epochs", None) or 0) * labelled * full.data.val_fraction
    networks = 2 if getattr(full.method, "layers", None) else 1  # a random copy passes over the images too
    passes = (labelled * probed + judged + tested + min(labelled, tested)) * networks
    return (length if shown is None else shown * step) + passes * forward


@lru_cache(maxsize=32)
def timed_network(backbone: str, size: int, side: int, machine: runtime.Runtime) -> tuple[float, float, int]:
    """Seconds of a forward pass and of a training step per image, and the number of parameters, without weights."""
    settings = backbone_settings({**json.loads(backbone), "weights": "none"})
    names = [str(label) for label in range(CLASSES)]
    classifier = backbones.load(settings, names, size, SILENT).to(machine.device)
    forward, step = seconds_per_image(classifier, side, machine)
    return forward, step, sum(parameter.numel() for parameter in classifier.parameters())


def cheaper_size(seconds: float, size: int, *, is_chosen: bool) -> str:
    """What a smaller size would save and cost, for a long run whose size nobody asked for; else nothing.

    Example:
        >>> cheaper_size(600, 128, is_chosen=True)
        ''
    """
    if seconds <= LONG_SECONDS or size != 128 or not is_chosen:
        return ""
    return f"Cheaper: --size 96 takes about {duration(seconds * (96 / 128) ** 2)}; {LOSS_AT_96}."


def training_length(method: Method, num_images: int, labelled: int) -> tuple[float | None, float]:
    """The images that a training shows; None where the clock decides, and then the seconds it is given.

    Args:
        method: As the run will resolve it.
        num_images: To train on.
        labelled: With val, for a second training on both.
    """
    if not isinstance(method, TrainingSettings):
        return 0, 0
    budget = budgets.read(method.budget) if method.budget else None
    if budget is None:
        again = labelled if getattr(method, "refit", False) and labelled > num_images else 0
        return (num_images + again) * (method.epochs or 0), 0
    if budget.kind == "seconds":
        return None, budget.amount
    return budget.amount * min(method.batch_size or num_images, num_images), 0


def in_words(method: Method) -> str:
    """The length of a method, as the recipe says it."""
    if not isinstance(method, TrainingSettings):
        return "0 epochs"
    again = " and as many with val" if getattr(method, "refit", False) else ""
    return method.budget or f"{method.epochs} epochs{again}"


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
    paths = [str(layout.root / file.path) for file in layout.files]
    side = data.storage if isinstance(data.storage, int) else automatic_size(paths)
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
