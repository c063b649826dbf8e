"""Noise, blur, weather and compression: from which severity on is the model not to be used?"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from transferkit.data import corruptions
from transferkit.data.images import Images, Pixels
from transferkit.metrics.bootstrap import percentile_interval
from transferkit.metrics.calibration import ece
from transferkit.metrics.conformal import ConformalCalibration
from transferkit.metrics.grouped import share_interval
from transferkit.metrics.outputs import Outputs
from transferkit.metrics.statistics import Bounds, Interval
from transferkit.runtime.array_types import Floats
from transferkit.runtime.console import Console, Progress
from transferkit.studies.limits import published
from transferkit.studies.limits.candidate_sets import SetsElsewhere, promise_of, sets_elsewhere
from transferkit.studies.limits.image_sets import sample
from transferkit.studies.limits.out_of_distribution import accepted_of, accepted_scores
from transferkit.studies.limits.published import PublishedCorruptions
from transferkit.studies.limits.settings import LimitsSettings
from transferkit.studies.limits.shares import NotMeasured, Share, share_of
from transferkit.studies.limits.strips import Strip, strips
from transferkit.studies.limits.subject import LimitsSubject, rows

Bools = npt.NDArray[np.bool_]

FAST_IMAGES = 1_000
DROP = 0.1  # of accuracy; the severity where more is lost is the breaking point
RESAMPLES = 1_000
LONG_SECONDS = 600  # from here on the time left is said in words, with a way to shorten it


Answers = dict[tuple[str, int], tuple[Outputs, Bools]]  # and which of the images the run accepts


@dataclass(frozen=True)
class CorruptionCell:
    """What one corruption does at one severity.

    Attributes:
        retention: Part of the accuracy on clean images that is kept; None where that is 0.
        silent: Wrong, and accepted all the same.
        silent_of_errors: Of the wrong ones, how many are accepted; None without one.
        rejected: By the shipped threshold.
        sets: Sets of classes; None where val promised nothing, and in reports of earlier versions.
    """

    corruption: str
    severity: int
    accuracy: Share
    retention: float | None
    ece: float
    silent: Share
    silent_of_errors: Share | None
    rejected: Share
    sets: SetsElsewhere | None = None


@dataclass(frozen=True)
class CorruptionRow:
    """What one corruption does over all severities.

    Attributes:
        accuracy: Mean, in [0, 1].
        breaking_point: First severity that costs more than `CorruptionReport.drop`; None where none does.
        silent: Where it is most.
    """

    name: str
    family: str
    accuracy: float
    breaking_point: int | None
    silent: Share


@dataclass(frozen=True)
class CorruptionMeans:
    """Mean accuracy over all versions; its interval draws images, for versions of one image are no new evidence."""

    mca: float
    interval: Bounds
    retention: float | None
    by_severity: dict[int, float]


@dataclass(frozen=True)
class CorruptionReport:
    """What noise, blur, weather and compression do.

    Attributes:
        recipe: What these images are called.
        is_fast: Whether it was a part of them.
        drop: Of accuracy that makes a breaking point.
        n: Images, each in every version.
        clean: Accuracy on the same images unchanged; likewise `clean_sets`.
        cells: Every version.
        families: Mean accuracy by family and severity.
        published: Of a known network, where the task is the same.
        checksum: Of the first images: the same here and there, or not.
    """

    recipe: str
    is_fast: bool
    drop: float
    n: int
    severities: tuple[int, ...]
    clean: Share
    cells: tuple[CorruptionCell, ...]
    corruptions: tuple[CorruptionRow, ...]
    families: dict[str, dict[int, float]]
    mca: float
    mca_interval: Bounds
    retention: float | None
    by_severity: dict[int, float]
    published: PublishedCorruptions | None
    checksum: str
    clean_sets: SetsElsewhere | None = None

    def cells_of(self, name: str) -> list[CorruptionCell]:
        """The cells of one corruption, by severity."""
        cells = {cell.severity: cell for cell in self.cells if cell.corruption == name}
        return [cells[severity] for severity in self.severities]


@dataclass(frozen=True)
class Corrupted:
    """What corruptions do.

    Attributes:
        report: The section of limits.json.
        arrays: For scores.npz: per image, how often it was right.
        strips: One image through each corruption.
    """

    report: CorruptionReport | NotMeasured
    arrays: Mapping[str, npt.NDArray[Any]]
    strips: Sequence[Strip] = ()


def measure_corruptions(subject: LimitsSubject, settings: LimitsSettings, console: Console) -> Corrupted:
    """Accuracy, silent failures and breaking point of every corruption."""
    if settings.corruptions == "none":
        return Corrupted(NotMeasured("not asked for (--corruptions none)"), {})
    if subject.bands != 3:
        reason = f"they are defined for red, green and blue, and the images have {subject.bands} band"
        return Corrupted(NotMeasured(reason + "s" * (subject.bands > 1)), {})
    fast = settings.corruptions == "fast"
    names, severities = (
        (corruptions.FAST, corruptions.FAST_SEVERITIES) if fast else (corruptions.FIFTEEN, corruptions.SEVERITIES)
    )
    images = subject.images.test
    if settings.cifar10c is None:  # the authors' files are of all test images
        images = sample(images, FAST_IMAGES if fast else settings.max_images, settings.seed)
    clean = outputs_of(subject.test, images)
    versions = [(name, severity) for name in names for severity in severities]
    answers = collect_answers(subject, images, versions, settings, console)
    outputs_of_version = {version: outputs for version, (outputs, _) in answers.items()}
    report = corruption_report(subject, images, answers, settings)
    right = np.mean([part.is_right for part in outputs_of_version.values()], axis=0)
    arrays = {"corruptions.right": right, "corruptions.ids": np.array(next(iter(outputs_of_version.values())).ids)}
    breaking = {row.name: row.breaking_point for row in report.corruptions}
    if settings.cifar10c is not None:  # the authors' files are in their own order
        return Corrupted(report, arrays)

    def pixels_of(version: tuple[str, int], index: int) -> Pixels:
        return one_image(images, *version, settings.seed, index)

    return Corrupted(report, arrays, strips(images, clean, outputs_of_version, breaking, pixels_of))


def corruption_report(
    subject: LimitsSubject, images: Images, answers: Answers, settings: LimitsSettings
) -> CorruptionReport:
    """What the network's answers to every version of the images come to."""
    clean = outputs_of(subject.test, images)
    names, severities = (tuple(dict.fromkeys(part)) for part in zip(*answers, strict=True))
    promise = promise_of(subject.val)
    cells = [_cell(version, accepted, outputs, clean, promise) for version, (outputs, accepted) in answers.items()]
    means = _means({version: outputs for version, (outputs, _) in answers.items()}, clean, settings.seed)
    return CorruptionReport(
        recipe=recipe_words(subject, settings),
        is_fast=settings.corruptions == "fast",
        drop=DROP,
        n=len(images),
        severities=severities,
        clean=share_of(clean.is_right, clean.groups),
        cells=tuple(cells),
        corruptions=tuple(_corruption(name, cells, clean) for name in names),
        families=_families(cells),
        mca=means.mca,
        mca_interval=means.interval,
        retention=means.retention,
        by_severity=means.by_severity,
        published=published.CORRUPTIONS if published.is_cifar10(subject) else None,
        checksum=checksum(images, names, settings.seed),
        clean_sets=sets_elsewhere(promise, clean),
    )


def one_image(images: Images, name: str, severity: int, seed: int, index: int) -> Pixels:
    """(3, H, W), the image at a place of the set, as it was shown to the network."""
    pixels = torch.from_numpy(images.take(slice(index, index + 1)))
    changed: Pixels = corruptions.corrupt(pixels, name, severity, seed, index)[0].numpy()
    return changed


def collect_answers(
    subject: LimitsSubject,
    images: Images,
    versions: Sequence[tuple[str, int]],
    settings: LimitsSettings,
    console: Console,
) -> Answers:
    """What the network says about every version of the images; what it said before is not asked again."""
    whole = len(versions) * len(images)
    missing = whole if settings.cifar10c else sum(_missing(subject, images, *version, settings) for version in versions)
    if missing < whole:
        console.line(f"corruptions: {whole - missing:,} of {whole:,} answers are kept from before.")
    if not missing:
        return {version: collect_version(subject, images, *version, settings) for version in versions}
    subject.store.expect(missing)
    answers = {}
    with console.progress("corruptions", missing) as progress:
        for name, severity in versions:
            progress.advance(0, f"{name} {severity}")
            started = time.perf_counter()
            answers[name, severity] = collect_version(subject, images, name, severity, settings, progress)
            seconds_left = (time.perf_counter() - started) * (len(versions) - len(answers))
            if len(answers) == 2 and seconds_left > LONG_SECONDS:  # the first one may have paid for compiling
                progress.tell(advice(len(versions), len(images), seconds_left), always=True)
    return answers


def _missing(subject: LimitsSubject, images: Images, name: str, severity: int, settings: LimitsSettings) -> int:
    return subject.store.missing(images, words_of(name, severity, settings.seed), subject.limits)


def advice(versions: int, images: int, seconds_left: float) -> str:
    """How long it will take, that stopping loses little, and what takes a fifth of the time."""
    return (
        f"{versions} versions of {images:,} images take about {seconds_left / 60:.0f} more minutes here. Ctrl-C keeps "
        f"what is done, and the same command goes on; --max-images {max(images // 5, 1)} takes a fifth of the time."
    )


def words_of(name: str, severity: int, seed: int) -> str:
    """All that decides what one corruption does to images."""
    return f"{corruptions.RECIPE}, {name}, severity {severity}, seed {seed}"


def collect_version(
    subject: LimitsSubject,
    images: Images,
    name: str,
    severity: int,
    settings: LimitsSettings,
    progress: Progress | None = None,
) -> tuple[Outputs, Bools]:
    """What the network says about images under one corruption at one severity, and which the run accepts."""
    if settings.cifar10c is not None:
        outputs = authors_images(subject, settings.cifar10c, name, severity, progress)
        return outputs, accepted_of(subject, outputs)[0]

    def change(pixels: Any, first: int) -> Any:
        return corruptions.corrupt(pixels, name, severity, settings.seed, first)

    words = words_of(name, severity, settings.seed)
    outputs, scores = subject.store.judged(images, change, words, subject.limits, progress)
    return outputs, accepted_scores(subject, scores)


def authors_images(
    subject: LimitsSubject, folder: Path, name: str, severity: int, progress: Progress | None = None
) -> Outputs:
    """The same for the authors' own files."""
    stored = corruptions.load_cifar10c(folder, name.removesuffix("_synthetic"), severity, subject.images.test)
    return subject.store.outputs(stored, f"{name} {severity}", progress)


def recipe_words(subject: LimitsSubject, settings: LimitsSettings) -> str:
    """What these images are called: never CIFAR-10-C unless they are the authors' files."""
    if settings.cifar10c is not None:
        return f"CIFAR-10-C, the authors' files in {settings.cifar10c}"
    small = subject.side_px < corruptions.LARGE_PX
    return corruptions.RECIPE if small else corruptions.RECIPE.replace("CIFAR-10-C", "ImageNet-C")


def outputs_of(test: Outputs, images: Images) -> Outputs:
    """The stored outputs of some test images."""
    position = {name: index for index, name in enumerate(test.ids)}
    return rows(test, np.array([position[name] for name in images.ids], dtype=np.int64))


def _cell(
    version: tuple[str, int], accepted: Bools, outputs: Outputs, clean: Outputs, promise: ConformalCalibration | None
) -> CorruptionCell:
    right, groups = outputs.is_right, clean.groups
    before = float(clean.is_right.mean())
    return CorruptionCell(
        *version,
        accuracy=share_of(right, groups),
        retention=float(right.mean()) / before if before else None,
        ece=ece(outputs),
        silent=share_of(~right & accepted, groups),
        silent_of_errors=share_of(accepted, groups, ~right) if (~right).any() else None,
        rejected=share_of(~accepted, groups),
        sets=sets_elsewhere(promise, outputs),
    )


def _corruption(name: str, cells: Sequence[CorruptionCell], clean: Outputs) -> CorruptionRow:
    mine = [cell for cell in cells if cell.corruption == name]
    before = float(clean.is_right.mean())
    broken = [cell.severity for cell in mine if cell.accuracy.value < before - DROP]
    return CorruptionRow(
        name=name,
        family=corruptions.CORRUPTIONS[name].family,
        accuracy=float(np.mean([cell.accuracy.value for cell in mine])),
        breaking_point=min(broken) if broken else None,
        silent=max((cell.silent for cell in mine), key=lambda silent: silent.value),
    )


def _families(cells: Sequence[CorruptionCell]) -> dict[str, dict[int, float]]:
    """Mean accuracy by family and severity."""
    families: dict[str, dict[int, list[float]]] = {}
    for cell in cells:
        family = corruptions.CORRUPTIONS[cell.corruption].family
        families.setdefault(family, {}).setdefault(cell.severity, []).append(cell.accuracy.value)
    return {
        family: {severity: float(np.mean(values)) for severity, values in by_severity.items()}
        for family, by_severity in families.items()
    }


def _means(answers: Mapping[tuple[str, int], Outputs], clean: Outputs, seed: int) -> CorruptionMeans:
    right = np.stack([part.is_right for part in answers.values()])  # (V, N)
    per_image = right.mean(axis=0)
    severities = sorted({severity for _, severity in answers})
    by_severity = {
        severity: float(np.mean([right[index].mean() for index, key in enumerate(answers) if key[1] == severity]))
        for severity in severities
    }
    before = float(clean.is_right.mean())
    mca = float(per_image.mean())
    interval = _interval_of_mean(per_image, clean.groups, seed)
    return CorruptionMeans(mca, interval.bounds, mca / before if before else None, by_severity)


def _interval_of_mean(per_image: Floats, groups: Sequence[str] | None, seed: int) -> Interval:
    """By resampling images, or whole groups of them."""
    if groups:
        return share_interval(per_image, groups, seed=seed)
    n = len(per_image)
    weights = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), RESAMPLES) / n
    return percentile_interval(weights @ per_image)


def checksum(images: Images, names: Sequence[str], seed: int) -> str:
    """SHA-256 over the first eight images under the first corruption: the same here and there, or not."""
    pixels = torch.from_numpy(images.take(slice(0, 8)))
    changed = corruptions.corrupt(pixels, names[0], 3, seed)
    return hashlib.sha256(changed.numpy().tobytes()).hexdigest()[:16]
