"""Pictures worth a look: confident errors, unknown images that were accepted, known ones that were not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from transferkit.evaluation import thumbnails
from transferkit.images import Images
from transferkit.limitations.subject import Subject
from transferkit.limitations.unknown import Told, accepted_of
from transferkit.metrics.mistakes import most_confident_mistakes
from transferkit.outputs import Outputs

Integers = npt.NDArray[np.int64]

SHOWN = 12  # pictures of a group
NEIGHBOURS = 3  # train images beside an unknown one


@dataclass
class Album:
    """Groups of pictures, and the pixels they point to."""

    groups: list[dict[str, Any]]
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


def album(subject: Subject, told: Sequence[Told]) -> Album:
    """Confident mistakes, own images that are rejected although right, and accepted images of every unknown set."""
    found = Album([], [])
    own = subject.images["test"]
    for title, chosen in _own_groups(subject):
        found.groups.append(
            {"title": title, "items": _items(subject, subject.test, own, chosen, found, with_label=True)}
        )
    for each in told:
        accepted, scores = accepted_of(subject, each.outputs)
        order = np.argsort(scores, kind="stable")
        chosen = order[accepted[order]][:SHOWN]
        items = _items(subject, each.outputs, each.found.images, chosen, found, with_label=False)
        for item, index in zip(items, chosen, strict=True):
            item["label"] = each.found.images.class_names[each.found.images.labels[index]]
        for item, near in zip(items, nearest(each.outputs, subject.train, chosen), strict=True):
            item["neighbours"] = found.add(subject.images["train"], near)
        title = f"Most confidently accepted of {each.name}, each with the nearest train images"
        found.groups.append({"title": title, "items": items})
    found.groups = [group for group in found.groups if group["items"]]
    return found


def _own_groups(subject: Subject) -> Iterator[tuple[str, Integers]]:
    yield "Most confident mistakes", most_confident_mistakes(subject.test, SHOWN)
    accepted, scores = accepted_of(subject, subject.test)
    right = subject.test.predictions == subject.test.labels
    order = np.argsort(-scores, kind="stable")
    yield "Right, and called unknown", order[(right & ~accepted)[order]][:SHOWN].astype(np.int64)


def _items(
    subject: Subject, outputs: Outputs, images: Images, chosen: Integers, found: Album, *, with_label: bool
) -> list[dict[str, Any]]:
    scores = subject.limits.scores(outputs)
    has_threshold = bool(subject.limits.percentiles)
    numbers = found.add(images, chosen)
    return [
        {
            "picture": number,
            "id": outputs.ids[index],
            "predicted": outputs.class_names[outputs.predictions[index]],
            "label": outputs.class_names[outputs.labels[index]] if with_label else None,
            "confidence": float(outputs.confidences[index]),
            "percentile": int(subject.limits.percentile(scores[[index]])[0]) if has_threshold else None,
        }
        for number, index in zip(numbers, chosen.tolist(), strict=True)
    ]


def nearest(outputs: Outputs, train: Outputs, chosen: Integers) -> Integers:
    """(M, 3), the train images with the largest cosine to each chosen image."""
    bank = torch.nn.functional.normalize(torch.from_numpy(train.features), dim=1)
    rows = torch.nn.functional.normalize(torch.from_numpy(outputs.features[chosen]), dim=1)
    count = min(NEIGHBOURS, len(bank))
    found: Integers = (rows @ bank.T).topk(count, dim=1).indices.numpy()
    return found
