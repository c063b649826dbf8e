"""Pictures worth a look: confident errors, unknown images that were accepted, known ones that were not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from transferkit.data.images import Images
from transferkit.data.thumbnails import thumbnails
from transferkit.metrics.mistakes import most_confident_mistakes
from transferkit.metrics.outputs import Outputs
from transferkit.studies.limits.contamination import Reason
from transferkit.studies.limits.deployment import DeploymentImages
from transferkit.studies.limits.out_of_distribution import ScoredSet, accepted_of
from transferkit.studies.limits.strips import Strip, StripRow
from transferkit.studies.limits.subject import LimitsSubject

Integers = npt.NDArray[np.int64]

SHOWN = 12  # pictures of a group
NEIGHBOURS = 3  # train images beside an unknown one
WHY: dict[Reason, str] = {"name": "by its name", "close": "close"}


@dataclass(frozen=True)
class GalleryItem:
    """One picture and what is written under it.

    Attributes:
        picture: Number among the report's pictures; likewise `beside`, the most similar train image, and `neighbours`.
        label: Its class, where that is known.
        percentile: Share of val, in %, that is less unusual; None without a threshold.
        why: It is shown, where that needs words.
        cosine: To the train image beside it.
    """

    picture: int
    id: str
    predicted: str
    label: str | None
    confidence: float
    percentile: int | None
    beside: int | None = None
    neighbours: tuple[int, ...] = ()
    why: str = ""
    cosine: float | None = None


@dataclass(frozen=True)
class GalleryGroup:
    """Pictures under one title."""

    title: str
    items: tuple[GalleryItem, ...]


@dataclass
class Album:
    """Groups of pictures, and the pixels they point to."""

    groups: list[GalleryGroup]
    pictures: list[npt.NDArray[np.uint8]]

    def add(self, images: Images, indices: Sequence[int] | Integers) -> list[int]:
        """Numbers of the pictures of some images."""
        start = len(self.pictures)
        self.pictures += list(thumbnails(images, np.asarray(indices, dtype=np.int64)))
        return list(range(start, len(self.pictures)))

    @property
    def pixels(self) -> npt.NDArray[np.uint8]:
        """(M, 3, h, w)."""
        return np.stack(self.pictures) if self.pictures else np.zeros((0, 3, 1, 1), np.uint8)


def make_album(
    subject: LimitsSubject, scored_sets: Sequence[ScoredSet], field: DeploymentImages | None = None
) -> Album:
    """Confident mistakes, own images that are rejected although right; of every unknown set those accepted and those
    that may show known classes; of the field the unusual and the confident."""
    album = Album([], [])
    own = subject.images.test
    for title, chosen in _own_groups(subject):
        items = _items(subject, subject.test, own, chosen, album, with_label=True)
        album.groups.append(GalleryGroup(title, tuple(items)))
    for scored_set in scored_sets:
        album.groups += [_accepted_group(subject, scored_set, album), _suspect_group(subject, scored_set, album)]
    if field is not None:
        album.groups += _field_groups(subject, field, album)
    album.groups = [group for group in album.groups if group.items]
    return album


def _accepted_group(subject: LimitsSubject, scored_set: ScoredSet, album: Album) -> GalleryGroup:
    accepted, scores = accepted_of(subject, scored_set.outputs)
    order = np.argsort(scores, kind="stable")
    items = _unknown_items(subject, scored_set, order[accepted[order]][:SHOWN], album)
    title = f"{scored_set.name}: accepted, the least unusual first, each with the nearest train images"
    return GalleryGroup(title, tuple(items))


def _suspect_group(subject: LimitsSubject, scored_set: ScoredSet, album: Album) -> GalleryGroup:
    """Images that may show known classes, each beside its like in train."""
    listed = scored_set.contamination.listed
    chosen = np.array([suspect.index for suspect in listed], np.int64)
    items = _unknown_items(subject, scored_set, chosen, album, near=False)
    likes = album.add(subject.images.train, [suspect.train for suspect in listed])
    explained = (
        replace(item, beside=like, why=WHY[suspect.reason], cosine=suspect.cosine)
        for item, suspect, like in zip(items, listed, likes, strict=True)
    )
    title = f"{scored_set.name}: may show known classes, each beside the most similar training image"
    return GalleryGroup(title, tuple(explained))


def _unknown_items(
    subject: LimitsSubject, scored_set: ScoredSet, chosen: Integers, album: Album, *, near: bool = True
) -> list[GalleryItem]:
    images = scored_set.image_set.images
    items = _items(subject, scored_set.outputs, images, chosen, album, with_label=False)
    labels = [images.class_names[images.require_labels()[index]] for index in chosen]
    items = [replace(item, label=label) for item, label in zip(items, labels, strict=True)]
    if not near:
        return items
    likes = nearest(scored_set.outputs, subject.train, chosen)
    return [
        replace(item, neighbours=tuple(album.add(subject.images.train, like)))
        for item, like in zip(items, likes, strict=True)
    ]


def _field_groups(subject: LimitsSubject, field: DeploymentImages, album: Album) -> list[GalleryGroup]:
    """One of each kind of rejected image, the most unusual, and those answered with most confidence."""
    accepted, scores = accepted_of(subject, field.outputs)
    rejected = np.flatnonzero(~accepted)
    chosen, sizes = one_of_each(field.outputs.features[rejected], field.seed)
    kinds = _items(subject, field.outputs, field.image_set.images, rejected[chosen], album, with_label=False)
    kinds = [replace(item, why=f"stands for {size}") for item, size in zip(kinds, sizes, strict=True)]
    groups = [GalleryGroup(f"{field.image_set.name}: rejected, one of each kind (k-means)", tuple(kinds))]
    confident = np.flatnonzero(accepted)
    orders = {
        "most unusual": np.argsort(-scores, kind="stable"),
        "answered with most confidence": confident[np.argsort(-field.outputs.confidences[confident], kind="stable")],
    }
    for title, order in orders.items():
        items = _items(subject, field.outputs, field.image_set.images, order[:SHOWN], album, with_label=False)
        groups.append(GalleryGroup(f"{field.image_set.name}: {title}", tuple(items)))
    return groups


def one_of_each(features: npt.NDArray[np.float32], seed: int) -> tuple[Integers, list[int]]:
    """The rows nearest to the centres of at most twelve groups, largest group first, and the groups' sizes.

    k-means of features scaled to length 1.
    """
    from sklearn.cluster import KMeans

    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    count = min(SHOWN, len(np.unique(unit, axis=0))) if len(unit) else 0
    if not count:
        return np.zeros(0, np.int64), []
    groups = KMeans(count, n_init=1, random_state=seed).fit(unit)
    distances = groups.transform(unit)
    sizes = np.bincount(groups.labels_, minlength=count)
    order = np.argsort(-sizes, kind="stable")
    return distances.argmin(axis=0)[order].astype(np.int64), sizes[order].tolist()


def strip_rows(strips: Sequence[Strip], album: Album) -> list[StripRow]:
    """Strips with the numbers of their pictures, which the album takes in."""
    rows = []
    for strip in strips:
        numbers = album.add(strip.pictures, range(len(strip.pictures)))
        steps = (replace(step, picture=number) for step, number in zip(strip.steps, numbers, strict=True))
        rows.append(StripRow(strip.corruption, strip.id, strip.label, tuple(steps)))
    return rows


def _own_groups(subject: LimitsSubject) -> Iterator[tuple[str, Integers]]:
    yield "Most confident mistakes", most_confident_mistakes(subject.test, SHOWN)
    accepted, scores = accepted_of(subject, subject.test)
    right = subject.test.is_right
    order = np.argsort(-scores, kind="stable")
    yield "Right, but rejected as unknown", order[(right & ~accepted)[order]][:SHOWN].astype(np.int64)


def _items(
    subject: LimitsSubject, outputs: Outputs, images: Images, chosen: Integers, album: Album, *, with_label: bool
) -> list[GalleryItem]:
    scores = subject.limits.scores(outputs)
    has_threshold = bool(subject.limits.percentiles)
    numbers = album.add(images, chosen)
    return [
        GalleryItem(
            picture=number,
            id=outputs.ids[index],
            predicted=outputs.class_names[outputs.predictions[index]],
            label=outputs.class_names[outputs.require_labels()[index]] if with_label else None,
            confidence=float(outputs.confidences[index]),
            percentile=int(subject.limits.percentile(scores[[index]])[0]) if has_threshold else None,
        )
        for number, index in zip(numbers, chosen.tolist(), strict=True)
    ]


def own_items(subject: LimitsSubject, chosen: Sequence[int], album: Album) -> tuple[GalleryItem, ...]:
    """Some of the run's test images, by index."""
    indices = np.asarray(chosen, dtype=np.int64)
    return tuple(_items(subject, subject.test, subject.images.test, indices, album, with_label=True))


def nearest(outputs: Outputs, train: Outputs, chosen: Integers) -> Integers:
    """(M, 3), the train images with the largest cosine to each chosen image."""
    bank = torch.nn.functional.normalize(torch.from_numpy(train.features), dim=1)
    rows = torch.nn.functional.normalize(torch.from_numpy(outputs.features[chosen]), dim=1)
    count = min(NEIGHBOURS, len(bank))
    indices: Integers = (rows @ bank.T).topk(count, dim=1).indices.numpy()
    return indices
