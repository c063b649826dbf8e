"""The overlap guard: are images from elsewhere the run's own over again, or could unknown ones show known classes?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from transferkit.data.duplicates import CORRELATION, likeness
from transferkit.data.images import Images
from transferkit.metrics.outputs import Outputs
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.plurals import counted
from transferkit.studies.limits.detectors import ScoreRow
from transferkit.studies.limits.image_sets import ImageSet
from transferkit.studies.limits.shares import Share, share_of
from transferkit.studies.limits.subject import LimitsSubject

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Reason = Literal["name", "close"]

CLOSE_QUANTILE = 0.05  # of the distances of val images to their nearest train image
CLOSE_SHARE = 0.05  # of an unknown set that may lie so close by chance
LISTED = 12
LESS_ALIKE = 0.98  # of the val images, which are no copies, look less like any train image than a near copy must
NAMED = 5  # removed images in a note
SYNONYMS = {"automobile": {"car"}, "airplane": {"aeroplane", "plane", "airliner"}, "truck": {"lorry"}}
SYNONYMS |= {"ship": {"boat", "liner"}, "car": {"automobile"}, "bike": {"bicycle"}}


@dataclass(frozen=True)
class Suspect:
    """An image that may show a known class, beside the train image that says so.

    Attributes:
        index: Of the unknown image in its set.
        train: Position of the nearest in the train images.
        reason: name (of its class) or close.
        cosine: Of the features of the two.
    """

    index: int
    train: int
    reason: Reason
    cosine: float


@dataclass(frozen=True)
class NamePair:
    """An unknown and a known class whose names mean the same."""

    theirs: str
    ours: str


@dataclass(frozen=True)
class WithoutSuspects:
    """Every score on the images that are no suspects."""

    n: int
    scores: dict[str, ScoreRow]


@dataclass(frozen=True)
class Overlap:
    """Whether a set of unknown images may show known classes.

    Attributes:
        names: Classes with known names.
        n_by_name: Their images.
        close: Closer to a train image than all but 5 % of val images.
        is_warning: Whether that is too much.
        without: The table again without the suspects; None where there are none, or no others.
    """

    names: tuple[NamePair, ...]
    n_by_name: int
    close: Share
    is_warning: bool
    without: WithoutSuspects | None = None


@dataclass(frozen=True)
class Contamination:
    """Images that may show known classes, and what makes them suspect.

    Attributes:
        suspects: (N,), none where there is no reason to warn.
        listed: The worst.
        overlap: For limits.json.
    """

    suspects: Bools
    listed: tuple[Suspect, ...]
    overlap: Overlap


# ---- the run's own images ----


@dataclass(frozen=True)
class OwnImages:
    """What tells images from elsewhere apart from the run's own.

    Attributes:
        digests: Of the pixels of all train, val and test images.
        train: Among which near copies are looked for; perhaps a sample.
        least_alike: Correlation in grey at 16 px with its like in train from which an image is a near copy.
    """

    digests: frozenset[bytes]
    train: Images
    least_alike: float

    def removed_from(self, image_set: ImageSet) -> ImageSet:
        """The set without the run's own images and near copies of train images; a note counts and lists each kind.

        Raises:
            TransferkitError: If no image is left.
        """
        same = _is_among(image_set.images, self.digests)
        alike = likeness(self.train, image_set.images) >= self.least_alike
        near = alike & ~same
        if (same | near).all():
            raise TransferkitError(
                f"All {counted(len(same), 'image')} of {image_set.name} are the run's own images ({same.sum():,}) "
                "or near "
                f"copies of its train images ({near.sum():,}), so that none is left to judge. Expected images that the "
                "run was not made with; name another folder, or leave this set out."
            )
        near_words = (
            f"near copies of train images (correlation of {self.least_alike:.3f} and more in grey at 16 px; "
            f"{100 * LESS_ALIKE:.0f} % of the val images have less)"
        )
        image_set, near = _without(image_set, same, "the run's own"), near[~same]
        return _without(image_set, near, near_words)


def own_images(subject: LimitsSubject) -> OwnImages:
    """The run's own images, and how alike its val images are to train without being copies.

    No fixed limit tells copies from likeness: different digits at 8 px are as alike as two versions of one photograph.
    """
    train, val = subject.images.train, subject.images.val
    others = val.subset(np.flatnonzero(~_is_among(val, subject.learnt)))
    usual = float(np.quantile(likeness(train, others), LESS_ALIKE)) if len(others) else CORRELATION
    parts = {digest.tobytes() for part in subject.images.all for digest in part.digests}
    return OwnImages(subject.learnt | parts, train, max(CORRELATION, usual))


def _is_among(images: Images, digests: frozenset[bytes]) -> Bools:
    return np.array([digest.tobytes() in digests for digest in images.digests], dtype=bool)


def _without(image_set: ImageSet, removed: Bools, words: str) -> ImageSet:
    if not removed.any():
        return image_set
    listed = ", ".join(image_set.images.ids[index] for index in np.flatnonzero(removed)[:NAMED])
    count = f"{removed.sum():,} of {counted(len(removed), 'image')}"
    return image_set.subset(~removed, f"{image_set.name}: {count} removed as {words}: {listed}")


# ---- known classes among unknown ones ----


def contamination_of(image_set: ImageSet, outputs: Outputs, subject: LimitsSubject) -> Contamination:
    """Classes with known names, and images closer to train than all but 5 % of val.

    One class of the own names, or more than 5 % close images, are a warning.
    """
    images = image_set.images
    present = set(images.require_labels().tolist())  # not classes that were dropped
    there = [name for label, name in enumerate(images.class_names) if label in present]
    same_names = known_names(subject.test.class_names, there)
    by_name = np.isin(images.require_labels(), [images.class_names.index(theirs) for theirs, _ in same_names])
    cosines, nearest = nearest_train(outputs.features, subject.train.features)
    close = distances_of(cosines) < close_limit(subject)
    is_warning = bool(same_names) or bool(close.mean() > CLOSE_SHARE)
    pairs = tuple(NamePair(theirs, ours) for theirs, ours in same_names)
    overlap = Overlap(pairs, int(by_name.sum()), share_of(close), is_warning)
    if not is_warning:
        return Contamination(np.zeros(len(close), dtype=bool), (), overlap)
    suspects = tuple(
        Suspect(index, int(nearest[index]), "name" if by_name[index] else "close", float(cosines[index]))
        for index in worst(by_name, close, cosines)
    )
    return Contamination(by_name | close, suspects, overlap)


def worst(by_name: Bools, close: Bools, cosines: Floats) -> list[int]:
    """At most twelve suspects: images both close and of a known name, then either; the most similar first.

    Example:
        >>> worst(np.array([True, False, True]), np.array([False, False, True]), np.array([0.8, 0.9, 0.5]))
        [2, 0]
    """
    weight = by_name.astype(int) + close
    order = np.lexsort((-cosines, -weight))
    return [int(index) for index in order[:LISTED] if weight[index]]


def known_names(ours: Sequence[str], theirs: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of an unknown and a known class whose names agree in their last word, or mean the same.

    Example:
        >>> known_names(["cat", "automobile"], ["Egyptian cat", "catfish", "sports car, sport car"])
        [('Egyptian cat', 'cat'), ('sports car, sport car', 'automobile')]
    """
    meanings = {name: {_words(name)} | {_words(other) for other in SYNONYMS.get(name.lower(), ())} for name in ours}
    pairs = []
    for title in theirs:
        parts = [_words(part) for part in title.split(",")]
        for name, known in meanings.items():
            if any(words and part[-len(words) :] == words for part in parts for words in known):
                pairs.append((title, name))
                break
    return pairs


def _words(name: str) -> tuple[str, ...]:
    """Lower case, without a plural s."""
    return tuple(
        word[:-1] if len(word) > 3 and word.endswith("s") else word
        for word in re.findall(r"\w+", name.lower().replace("_", " "))
    )


def close_limit(subject: LimitsSubject) -> float:
    """The distance to the nearest train image that only 5 % of val images stay below."""
    cosines, _ = nearest_train(subject.val.features, subject.train.features)
    return float(np.quantile(distances_of(cosines), CLOSE_QUANTILE))


def nearest_train(features: npt.NDArray[np.float32], train: npt.NDArray[np.float32]) -> tuple[Floats, Integers]:
    """(N,) cosine to the most similar training image, and (N,) which one that is."""
    bank = torch.nn.functional.normalize(torch.from_numpy(train), dim=1)
    parts = [
        (torch.nn.functional.normalize(chunk, dim=1) @ bank.T).max(dim=1)
        for chunk in torch.split(torch.from_numpy(features), 1024)
    ]
    cosines: Floats = torch.cat([part.values for part in parts]).double().numpy()
    nearest: Integers = torch.cat([part.indices for part in parts]).numpy()
    return cosines, nearest


def distances_of(cosines: Floats) -> Floats:
    """Euclidean distances of vectors of length 1."""
    distances: Floats = np.sqrt(np.clip(2 - 2 * cosines, 0, None))
    return distances
