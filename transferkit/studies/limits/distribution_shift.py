"""Other images of the model's own classes: what is lost, and would estimates without labels have known?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from transferkit.data.images import Images, Pixels
from transferkit.metrics.calibration import ece
from transferkit.metrics.classification import accuracy
from transferkit.metrics.grouped import accuracy_difference
from transferkit.metrics.outputs import Outputs
from transferkit.metrics.statistics import Bounds
from transferkit.metrics.statistics.distributions import normal_cdf, normal_quantile
from transferkit.runtime.console import Console
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.plurals import counted
from transferkit.studies.limits import image_sets
from transferkit.studies.limits.candidate_sets import SetsElsewhere, promise_of, sets_elsewhere
from transferkit.studies.limits.contamination import SYNONYMS
from transferkit.studies.limits.image_sets import ImageSet
from transferkit.studies.limits.out_of_distribution import accepted_of
from transferkit.studies.limits.published import CIFAR10
from transferkit.studies.limits.settings import LimitsSettings
from transferkit.studies.limits.shares import Share, share_of
from transferkit.studies.limits.subject import LimitsSubject

Bools = npt.NDArray[np.bool_]

STL10 = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")  # its class_names.txt
STL10_PX = 96
CIFAR101_VERSIONS = ("v6", "v4")
# Recht et al. 2018 (arXiv:1806.00451): probit line through the 30 from-scratch models whose predictions they published.
LINE_SLOPE, LINE_OFFSET, LINE_SD = 0.949, -0.380, 0.008
LINE_RANGE = (0.82, 0.98)  # of accuracies on CIFAR-10 that the line was fitted on


@dataclass(frozen=True)
class Shift:
    """Other images under the run's classes.

    Attributes:
        image_set: Only the images of shared classes, labels along the run's classes.
        words: How classes were matched, and which were left out.
        is_cifar101: Whether the line of effective robustness was made for these images.
    """

    image_set: ImageSet
    words: str
    is_cifar101: bool

    @property
    def shared(self) -> tuple[int, ...]:
        """The run's classes among the images, by index."""
        return tuple(np.unique(self.image_set.images.require_labels()).tolist())


@dataclass(frozen=True)
class Gap:
    """Own accuracy minus that on the other images, in [-1, 1]."""

    value: float
    interval: Bounds


@dataclass(frozen=True)
class RobustnessLine:
    """probit(accuracy there) = slope * probit(accuracy here) + offset."""

    slope: float
    offset: float


@dataclass(frozen=True)
class EffectiveRobustness:
    """Accuracy beyond what models from scratch have there.

    Attributes:
        value: None where the line does not hold; then the rest is None too.
        words: What to make of it.
        predicted: By the line.
        noise: How far from the line says nothing.
    """

    value: float | None
    words: str
    predicted: float | None = None
    noise: float | None = None
    line: RobustnessLine | None = None


@dataclass(frozen=True)
class ShiftReport:
    """What one set of other images of the run's classes shows.

    Attributes:
        mapping: How classes were matched, in words.
        own: Accuracy on the run's own test images of these classes.
        masked_accuracy: If only shared classes could be answered; None where all are shared.
        silent: Wrong, and accepted all the same.
        atc: Accuracy as estimated without labels; likewise `doc`.
        effective: Robustness; None where there is no line for these images.
        sets: Sets of classes; None where val promised nothing, and in reports of earlier versions.
    """

    name: str
    source: str
    n: int
    native_px: int
    mapping: str
    notes: tuple[str, ...]
    accuracy: Share
    own: Share
    gap: Gap
    masked_accuracy: float | None
    ece: float
    silent: Share
    rejected: Share
    atc: float
    doc: float
    effective: EffectiveRobustness | None
    sets: SetsElsewhere | None = None


def load_shift(source: str, subject: LimitsSubject, settings: LimitsSettings, console: Console) -> Shift:
    """CIFAR-10.1 or STL-10 from their files, a data set by name, or a folder; matched by class names.

    Raises:
        TransferkitError: If there is no shared class, or the images are missing or damaged.
    """
    place = image_sets.require(source)
    folder, title = Path(place.what), place.name
    version = next((v for v in CIFAR101_VERSIONS if (folder / f"cifar10.1_{v}_data.npy").is_file()), None)
    if version:
        title = f"CIFAR-10.1 {version}"
        image_set = _from_arrays(title, folder, *cifar101(folder, version), CIFAR10, subject, settings)
    elif (folder / "test_X.bin").is_file():
        image_set = _from_arrays(title, folder, *stl10(folder), STL10, subject, settings)
    else:
        image_set = image_sets.load(source, subject.side_px, settings.max_images, settings.seed, console, subject.fit)
    return matched(image_set, subject.test.class_names, bool(version))


def cifar101(folder: Path, version: str) -> tuple[Pixels, npt.NDArray[np.int64]]:
    """Pixels (N, 3, 32, 32) and labels of the CIFAR-10.1 files.

    Raises:
        TransferkitError: If a file is missing or damaged.
    """
    data, labels = (_array(folder / f"cifar10.1_{version}_{part}.npy") for part in ("data", "labels"))
    if data.ndim != 4 or data.shape[1:] != (32, 32, 3) or data.dtype != np.uint8 or len(data) != len(labels):
        raise TransferkitError(
            f"{folder} holds no CIFAR-10.1: expected uint8 (N, 32, 32, 3), found {data.dtype} {data.shape}."
        )
    return np.ascontiguousarray(data.transpose(0, 3, 1, 2)), labels.astype(np.int64)


def _array(path: Path) -> npt.NDArray[Any]:
    try:
        array: npt.NDArray[Any] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise TransferkitError(f"Cannot read {path}: {error}.") from error
    return array


def stl10(folder: Path) -> tuple[Pixels, npt.NDArray[np.int64]]:
    """Pixels (N, 3, 96, 96) and labels of STL-10's binary test files, which go column by column from label 1.

    Raises:
        TransferkitError: If a file is missing or its length is not that of whole images.
    """
    try:
        raw, marks = (np.fromfile(folder / name, dtype=np.uint8) for name in ("test_X.bin", "test_y.bin"))
    except OSError as error:
        raise TransferkitError(f"Cannot read STL-10 in {folder}: {error.strerror}: {error.filename}.") from error
    size = 3 * STL10_PX**2
    if len(raw) != len(marks) * size or not len(marks) or not 1 <= marks.min() <= marks.max() <= len(STL10):
        raise TransferkitError(
            f"{folder} holds no whole STL-10: {counted(len(raw), 'byte')} in test_X.bin for "
            f"{counted(len(marks), 'label')}; expected "
            f"{counted(size, 'byte')} per label and labels 1 to 10. Unpack stl10_binary.tar.gz again."
        )
    pixels = raw.reshape(-1, 3, STL10_PX, STL10_PX).transpose(0, 1, 3, 2)
    return np.ascontiguousarray(pixels), marks.astype(np.int64) - 1


def _from_arrays(
    name: str,
    folder: Path,
    pixels: Pixels,
    labels: npt.NDArray[np.int64],
    names: tuple[str, ...],
    subject: LimitsSubject,
    settings: LimitsSettings,
) -> ImageSet:
    images = image_sets.sample(Images.from_pixels(pixels, labels, names), settings.max_images, settings.seed)
    side = min(images.size_px)
    native = None if side == subject.side_px else image_sets.sample(images, image_sets.NATIVE_IMAGES, settings.seed)
    return ImageSet(name, str(folder), image_sets.resized(images, subject.side_px), native, side)


def matched(image_set: ImageSet, ours: Sequence[str], is_cifar101: bool = False) -> Shift:
    """The images whose class the run has too, labels along the run's classes.

    Raises:
        TransferkitError: If no class is shared.
    """
    theirs = image_set.images.class_names
    position = {name: place for name in theirs if (place := _same_class(name, ours)) is not None}
    if not position:
        raise TransferkitError(
            f"No class of {image_set.name} is a class of the run. Theirs: {', '.join(theirs[:8])}; ours: "
            f"{', '.join(ours[:8])}. For images of other classes use --ood."
        )
    table = np.array([position.get(name, -1) for name in theirs])
    labels = table[image_set.images.require_labels()]
    rows = np.flatnonzero(labels >= 0)
    images = replace(image_set.images.subset(rows), labels=labels[rows], class_names=tuple(ours))
    left_out = [name for name in theirs if name not in position]
    renamed = [f"{name} as {ours[place]}" for name, place in position.items() if name != ours[place]]
    words = f"{len(position)} of the run's {counted(len(ours), 'class', 'classes')}"
    words += f"; taken {', '.join(renamed)}" if renamed else ""
    words += f"; left out, because the run has no such class: {', '.join(left_out)}" if left_out else ""
    return Shift(replace(image_set, images=images), words + ".", is_cifar101)


def _same_class(name: str, ours: Sequence[str]) -> int | None:
    plain = name.lower().replace("_", " ")
    for place, own in enumerate(ours):
        known = own.lower().replace("_", " ")
        if plain == known or plain in SYNONYMS.get(known, ()) or known in SYNONYMS.get(plain, ()):
            return place
    return None


# ---- what is counted ----


def measure_shift(shift: Shift, subject: LimitsSubject) -> tuple[ShiftReport, Outputs]:
    """Accuracy there and on the same classes of the run's own test images, and estimates that need no labels."""
    outputs = subject.store.outputs(shift.image_set.images, shift.image_set.name)
    right = outputs.is_right
    member = np.isin(subject.test.require_labels(), shift.shared)
    own = subject.test.is_right[member]
    own_groups = subject.test.groups and tuple(np.asarray(subject.test.groups)[member].tolist())
    gap = accuracy_difference(own, own_groups, right, outputs.groups)
    accepted, _ = accepted_of(subject, outputs)
    row = ShiftReport(
        name=shift.image_set.name,
        source=shift.image_set.source,
        n=len(outputs),
        native_px=shift.image_set.native_px,
        mapping=shift.words,
        notes=shift.image_set.notes,
        accuracy=share_of(right, outputs.groups),
        own=share_of(own, own_groups),
        gap=Gap(gap.difference, gap.interval.bounds),
        masked_accuracy=masked_accuracy(outputs, shift.shared),
        ece=ece(outputs),
        silent=share_of(~right & accepted, outputs.groups),
        rejected=share_of(~accepted, outputs.groups),
        atc=atc(subject.val, outputs),
        doc=doc(subject.val, outputs),
        effective=effective_robustness(own, right) if shift.is_cifar101 else None,
        sets=sets_elsewhere(promise_of(subject.val), outputs),
    )
    return row, outputs


def masked_accuracy(outputs: Outputs, shared: Sequence[int]) -> float | None:
    """Accuracy if only shared classes could be answered; None where all are shared."""
    if len(shared) == len(outputs.class_names):
        return None
    answers = np.asarray(shared)[outputs.logits[:, list(shared)].argmax(axis=1)]
    return float((answers == outputs.require_labels()).mean())


def atc(val: Outputs, outputs: Outputs) -> float:
    """Accuracy estimated as the share of images above the confidence below which the val errors would lie.

    Average thresholded confidence, Garg et al., ICLR 2022 (arXiv:2201.04234), eq. 2, with the largest probability.
    """
    errors = float((~val.is_right).mean())
    ascending = np.sort(val.confidences)
    rank = min(round(errors * len(val)), len(val) - 1)
    return float((outputs.confidences >= ascending[rank]).mean())


def doc(val: Outputs, outputs: Outputs) -> float:
    """Accuracy estimated as that of val plus the change in mean confidence, cut to [0, 1].

    Difference of confidences, Guillory et al., ICCV 2021 (arXiv:2107.03315), without their regression.
    """
    change = float(outputs.confidences.mean() - val.confidences.mean())
    return min(1.0, max(0.0, accuracy(val) + change))


def effective_robustness(own: Bools, right: Bools) -> EffectiveRobustness:
    """Accuracy on CIFAR-10.1 beyond what a from-scratch model with the same CIFAR-10 accuracy has there.

    Taori et al., NeurIPS 2020 (arXiv:2007.00644), section 3; differences within twice the standard deviation of the
    models around the line and of the image sample together are noise.
    """
    accuracy, there = float(own.mean()), float(right.mean())
    low, high = LINE_RANGE
    if not low <= accuracy <= high:
        words = f"not told, the line holds for {100 * low:.0f} to {100 * high:.0f} % on CIFAR-10."
        return EffectiveRobustness(None, words)
    predicted = float(normal_cdf(LINE_SLOPE * normal_quantile(accuracy) + LINE_OFFSET))
    noise = 2 * float(np.sqrt(LINE_SD**2 + there * (1 - there) / len(right)))
    value = there - predicted
    shown = "beyond noise" if abs(value) > noise else "within noise"
    words = f"{100 * value:+.1f} points against {100 * predicted:.1f} % predicted, {shown} (± {100 * noise:.1f})."
    return EffectiveRobustness(value, words, predicted, noise, RobustnessLine(LINE_SLOPE, LINE_OFFSET))
