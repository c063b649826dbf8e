"""What a classifier says of many images, from the feature store piece by piece, so that a stop loses little."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from transferkit.data.batches import to_device
from transferkit.data.images import Images, Labels, Pixels
from transferkit.features.engine import gathered
from transferkit.features.fast_classifier import FastClassifier, logits_of
from transferkit.features.finite import finite, require_finite_logits
from transferkit.features.inventory import described
from transferkit.features.keys import Key, key_of, weights_digest
from transferkit.features.layers import PENULTIMATE
from transferkit.features.pictures import taken
from transferkit.features.store import FeatureStore, open_store
from transferkit.metrics.outputs import Outputs
from transferkit.models import heads
from transferkit.models.classifier import Classifier
from transferkit.runtime.array_types import Features
from transferkit.runtime.console import Console, Progress
from transferkit.runtime.json_files import JsonObject
from transferkit.runtime.machine import Runtime

CHUNK = 1_000  # images changed together; corruptions are seeded by it
PIECE = 2 * CHUNK  # images stored at a time, and so the most that a stop loses

Change: TypeAlias = Callable[[Tensor, int], Tensor]  # pixels (B, 3, H, W) uint8 and the index of the first -> the same
Compute: TypeAlias = Callable[[Labels], Features]  # indices (M,) of images -> rows (M, D)
Scores: TypeAlias = npt.NDArray[np.float64]


class Judge(Protocol):
    """Says how unusual images are."""

    @property
    def identity(self) -> str:
        """All that decides its scores besides the outputs that it is given."""

    def scores(self, outputs: Outputs) -> Scores:
        """(N,), higher = more unusual."""


@dataclass(frozen=True)
class StoredAnswers:
    """What a classifier says of images, as they are and after changes; each is asked about once.

    Attributes:
        classifier: In eval mode, on the device.
        runtime: Where it computes.
        console: Shows progress, and what the store has to say.
    """

    classifier: Classifier
    runtime: Runtime
    console: Console

    def outputs(self, images: Images, title: str, progress: Progress | None = None) -> Outputs:
        """What the classifier says of images; where the classes are not its own, they have no labels.

        Raises:
            MachineError: If a feature or logit is not finite; names an image.
        """
        names = self.classifier.class_names
        asked = images if images.class_names == names else replace(images, labels=None, class_names=names)
        key = self._key_of_features(images)
        missing = self._missing(key, images.digests)
        own_bar = self.console.progress(title, missing, is_detail=True)
        showing = nullcontext(progress) if progress or not missing else own_bar
        with showing as bar:
            features = self._together(images, key, images.digests, lambda rows: self._features(asked, rows, bar))
        logits = logits_of(self.classifier.head, features, len(names), self.runtime.device)
        require_finite_logits(logits, asked.ids)
        return Outputs(features, logits, asked.labels, asked.ids, names, asked.groups)

    def judged(
        self, images: Images, change: Change, name: str, judge: Judge, progress: Progress | None = None
    ) -> tuple[Outputs, Scores]:
        """What the classifier says of images after a change, without features, and how unusual each changed image is.

        Args:
            images: What happens to one may depend on its index.
            change: What is done to them.
            name: Describes the change in full.
            judge: Gives the scores.
            progress: Advanced by each image that is asked about.

        Raises:
            MachineError: If a logit is not finite; names an image.
        """
        key = self._key_of_answers(images, name, judge)
        places = by_index(images.digests)
        rows = self._together(images, key, places, lambda rows: self._changed(images, change, rows, judge, progress))
        logits, scores = np.ascontiguousarray(rows[:, :-2]), rows[:, -2].astype(np.float64) + rows[:, -1]
        nothing = np.zeros((len(images), 0), np.float32)
        names = self.classifier.class_names
        return Outputs(nothing, logits, images.labels, images.ids, names, images.groups), scores

    def missing(self, images: Images, name: str, judge: Judge) -> int:
        """How many of the images have not been asked about after this change."""
        return self._missing(self._key_of_answers(images, name, judge), by_index(images.digests))

    def expect(self, images: int) -> None:
        """Say how many changed images are to come, so that what pays for many is done for many."""
        self._fast.engine.images_ahead = images

    # ---- the store ----

    def _together(self, images: Images, key: Key, digests: Pixels, compute: Compute) -> Features:
        """Rows of all images, stored a piece at a time."""
        store = None if self._store is None else replace(self._store, about=described(self.classifier, images))
        return np.concatenate([served(store, key, digests, piece, compute) for piece in pieces(len(digests))])

    def _missing(self, key: Key, digests: Pixels) -> int:
        return len(digests) if self._store is None else self._store.count_missing(key, digests)

    @cached_property
    def _store(self) -> FeatureStore | None:
        return open_store(self.console)

    @cached_property
    def _digests(self) -> tuple[str, str]:
        """Of the body's weights, and of all of them."""
        return weights_digest(self.classifier.body), weights_digest(self.classifier)

    def _key_of_features(self, images: Images) -> Key:
        return self._key(images, self._digests[0], PENULTIMATE, "avg")

    def _key_of_answers(self, images: Images, change: str, judge: Judge) -> Key:
        """The whole image set counts: an image's neighbours may decide what happens to it."""
        key = self._key(images, self._digests[1], "head", "none")
        head = {key: value for key, value in vars(heads.described(self.classifier.head)).items() if value is not None}
        also: JsonObject = {"images": images.fingerprint, "change": change, "judge": judge.identity, "head": head}
        return replace(key, preparation={**key.preparation, **also})

    def _key(self, images: Images, weights: str, layer: str, pool: str) -> Key:
        spec, device, averaging = self.classifier.input_spec, self.runtime.device.type, self.classifier.averaging
        return key_of(weights, spec, images.size_px, layer, pool, self.runtime.precision, device, averaging)

    # ---- the network ----

    @cached_property
    def _fast(self) -> FastClassifier:
        return FastClassifier(self.classifier, self.runtime, self.console)

    def _features(self, images: Images, rows: Labels, progress: Progress | None) -> Features:
        some = taken(images, rows)
        batches = self._fast.engine.features_of(some, progress)
        return gathered(finite(batches, some.ids), len(some))[PENULTIMATE]

    def _changed(
        self, images: Images, change: Change, rows: Labels, judge: Judge, progress: Progress | None
    ) -> Features:
        """(M, C + 2), logits and score of images after a change; the score, which has more digits, as a sum of two."""
        answers = []
        for batch in self._changed_batches(images, change, rows):
            answers.append(self._fast(batch))
            if progress:
                progress.advance(len(batch))
        features, logits = (torch.cat(part).cpu().numpy() for part in zip(*answers, strict=True))
        ids = tuple(images.ids[row] for row in rows)
        require_finite_logits(logits, ids)
        scores = judge.scores(Outputs(features, logits, None, ids, self.classifier.class_names))
        rounded = scores.astype(np.float32)
        return np.column_stack([logits, rounded, (scores - rounded).astype(np.float32)])

    def _changed_batches(self, images: Images, change: Change, rows: Labels) -> Iterator[Tensor]:
        """The changed images on the device; whole chunks are changed, of which those asked for are taken."""
        for number in np.unique(rows // CHUNK).tolist():
            start, stop = number * CHUNK, min((number + 1) * CHUNK, len(images))
            pixels = to_device(images.take(slice(start, stop)), self.runtime.device)
            wanted = torch.from_numpy(rows[rows // CHUNK == number] - start)
            yield from torch.split(change(pixels, start).to(self.runtime.device)[wanted], self._batch_size)

    @property
    def _batch_size(self) -> int:
        """Images per forward pass: a chunk holds a whole number of batches, or nearly."""
        return -(-CHUNK // -(-CHUNK // self._fast.engine.batch_size()))


def served(store: FeatureStore | None, key: Key, digests: Pixels, piece: range, compute: Compute) -> Features:
    """Rows of a piece of the images, from the store where there is one."""
    if store is None:
        return compute(np.arange(piece.start, piece.stop))
    return store.served(key, digests[piece.start : piece.stop], lambda rows: compute(piece.start + rows))


def pieces(count: int) -> list[range]:
    """Images 0..count-1 in order, as many as are stored at a time; one empty piece where there are none."""
    return [range(start, min(start + PIECE, count)) for start in range(0, max(count, 1), PIECE)]


def by_index(digests: Pixels) -> Pixels:
    """(N, 16), other digests for the same image at another index, since a change may depend on it."""
    indices = np.arange(len(digests), dtype="<u8").view(np.uint8).reshape(len(digests), 8)
    return np.concatenate([digests[:, :8], digests[:, 8:] ^ indices], axis=1)
