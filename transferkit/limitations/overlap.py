"""The overlap guard: could images of unknown classes show known ones, or be the train images over again?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from transferkit.duplicates import Duplicate, duplicates
from transferkit.images import Images
from transferkit.limitations.image_sets import ImageSet
from transferkit.limitations.shares import share_of
from transferkit.limitations.subject import Subject
from transferkit.outputs import Outputs

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Reason = Literal["copy", "name", "close"]

CLOSE_QUANTILE = 0.05  # of the distances of val images to their nearest train image
CLOSE_SHARE = 0.05  # of an unknown set that may lie so close by chance
LISTED = 12
SYNONYMS = {"automobile": {"car"}, "airplane": {"aeroplane", "plane", "airliner"}, "truck": {"lorry"}}
SYNONYMS |= {"ship": {"boat", "liner"}, "car": {"automobile"}, "bike": {"bicycle"}}


@dataclass(frozen=True)
class Suspect:
    """An image that may show a known class, beside the train image that says so.

    Attributes:
        index: Of the unknown image in its set.
        train: Position of its like, or of the nearest, in the train images.
        reason: copy, name (of its class) or close.
        cosine: Of the features of the two.
    """

    index: int
    train: int
    reason: Reason
    cosine: float


@dataclass(frozen=True)
class Guard:
    """Images that may show known classes, and what makes them suspect.

    Attributes:
        suspects: (N,), none where there is no reason to warn.
        listed: The worst, copies first.
        facts: For limits.json.
    """

    suspects: Bools
    listed: tuple[Suspect, ...]
    facts: dict[str, Any]


def overlap(found: ImageSet, outputs: Outputs, subject: Subject) -> Guard:
    """Near copies of train images, classes with known names, and images closer to train than all but 5 % of val.

    One class of the own names, one near copy, or more than 5 % close images are a warning. Features alone call any two
    images of one class alike, so that a copy must look like its train image too: see `duplicates`.
    """
    images, train = found.images, subject.images["train"]
    copies = duplicates(train, images, subject.train.features, outputs.features)
    present = set(images.labels.tolist())  # not classes that were dropped
    there = [name for label, name in enumerate(images.class_names) if label in present]
    same_names = known_names(subject.test.class_names, there)
    by_name = np.isin(images.labels, [images.class_names.index(theirs) for theirs, _ in same_names])
    cosines, nearest = nearest_train(outputs.features, subject.train.features)
    close = distances_of(cosines) < close_limit(subject)
    is_warning = bool(copies) or bool(same_names) or bool(close.mean() > CLOSE_SHARE)
    facts = {
        "names": [{"theirs": theirs, "ours": ours} for theirs, ours in same_names],
        "n_by_name": int(by_name.sum()),
        "close": share_of(close),
        "copies": [_as_dict(copy, images, train) for copy in copies[:LISTED]],
        "n_copies": len(copies),
        "is_warning": is_warning,
    }
    if not is_warning:
        return Guard(np.zeros(len(close), dtype=bool), (), facts)
    like = {copy.test: copy.train for copy in copies}
    is_copy = np.isin(np.arange(len(images)), list(like))
    listed = worst(is_copy, by_name, close, cosines)
    reasons: list[Reason] = ["copy" if is_copy[index] else "name" if by_name[index] else "close" for index in listed]
    suspects = tuple(
        Suspect(index, like.get(index, int(nearest[index])), reason, float(cosines[index]))
        for index, reason in zip(listed, reasons, strict=True)
    )
    return Guard(is_copy | by_name | close, suspects, facts)


def _as_dict(copy: Duplicate, images: Images, train: Images) -> dict[str, Any]:
    return {
        "id": images.ids[copy.test],
        "train": train.ids[copy.train],
        "kind": copy.kind,
        "correlation": round(copy.correlation, 3),
    }


def worst(copy: Bools, by_name: Bools, close: Bools, cosines: Floats) -> list[int]:
    """At most twelve suspects: copies, then images both close and of a known name, then either; alike first.

    Example:
        >>> marks = [np.array([False, True, False]), np.array([True, False, False]), np.array([False, False, True])]
        >>> worst(*marks, np.array([0.8, 0.5, 0.9]))
        [1, 2, 0]
    """
    weight = 2 * copy.astype(int) + by_name + close
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


def close_limit(subject: Subject) -> float:
    """The distance to the nearest train image that only 5 % of val images stay below."""
    cosines, _ = nearest_train(subject.val.features, subject.train.features)
    return float(np.quantile(distances_of(cosines), CLOSE_QUANTILE))


def nearest_train(features: npt.NDArray[np.float32], train: npt.NDArray[np.float32]) -> tuple[Floats, Integers]:
    """(N,) cosine to the most alike train image, and (N,) which one that is."""
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
