"""What the network says about images, asked only once: kept on disk piece by piece, so that a stop loses little."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from transferkit.data.batches import to_device
from transferkit.data.images import Images
from transferkit.features.fast_classifier import FastClassifier
from transferkit.features.keys import key_of
from transferkit.metrics.outputs import Outputs, require_finite_logits
from transferkit.models.classifier import Classifier
from transferkit.ood import rejection
from transferkit.ood.rejection import Rejection
from transferkit.runtime.console import Console, Progress
from transferkit.runtime.files import read_arrays, write_arrays
from transferkit.runtime.machine import Runtime

CHUNK = 1_000  # images changed together; corruptions are seeded by it
PIECE = 2 * CHUNK  # images in a file, and so the most that a stop loses

Change: TypeAlias = Callable[[Tensor, int], Tensor]  # pixels (B, 3, H, W) uint8 and the index of the first -> the same
Floats: TypeAlias = npt.NDArray[np.float32]
Arrays: TypeAlias = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class OutputStore:
    """What the network says, asked only once: a piece is found again by the key of stored features and its images.

    The key holds the versions of the libraries too, so that after an upgrade nothing old is reused.

    Attributes:
        folder: Of the files.
        classifier: In eval mode, on the device.
        runtime: Where it computes.
        console: Shows progress.
        model_digest: Of all weights.
    """

    folder: Path
    classifier: Classifier
    runtime: Runtime
    console: Console
    model_digest: str

    def outputs(self, images: Images, title: str, progress: Progress | None = None) -> Outputs:
        """What the network says about the images; labels are those of the images where the classes are its own."""
        names = self.classifier.class_names
        asked = images if images.class_names == names else replace(images, labels=None, class_names=names)
        missing = self._missing(asked, "")
        showing = nullcontext(progress) if progress or not missing else self.console.progress(title, missing)
        with showing as shown:
            found = self._together(asked, "", lambda piece: self._asked(asked, piece, shown))
        return Outputs(found["features"], found["logits"], asked.labels, asked.ids, names)

    def changed(self, images: Images, change: Change, name: str) -> Outputs:
        """What the network says about images after a change that `name` describes in full; features are not kept."""
        return self.judged(images, change, name, rejection.fit(None))[0]

    def judged(
        self, images: Images, change: Change, name: str, limits: Rejection, progress: Progress | None = None
    ) -> tuple[Outputs, npt.NDArray[np.float64]]:
        """The same, and how unusual each changed image is to the score that the run ships."""
        found = self._together(
            images, name + against(limits), lambda piece: self._asked_changed(images, change, piece, limits, progress)
        )
        nothing = np.zeros((len(images), 0), np.float32)
        outputs = Outputs(nothing, found["logits"], images.labels, images.ids, self.classifier.class_names)
        return outputs, found["scores"]

    def missing(self, images: Images, name: str, limits: Rejection) -> int:
        """How many of the images the network has not been asked about after this change."""
        return self._missing(images, name + against(limits))

    def expect(self, images: int) -> None:
        """Say how many changed images are to come, so that what pays for many is done for many."""
        self._fast.engine.images_ahead = images

    def _missing(self, images: Images, name: str) -> int:
        return sum(len(piece) for piece in pieces(len(images)) if not self._path(images, name, piece).exists())

    def _together(self, images: Images, name: str, ask: Callable[[range], Arrays]) -> Arrays:
        """Pieces from disk, or asked for and kept; then all of them together."""
        found = []
        for piece in pieces(len(images)):
            path = self._path(images, name, piece)
            if not path.exists():
                write_arrays(path, ask(piece))
            found.append(read_arrays(path)[0])
        return {part: np.concatenate([arrays[part] for arrays in found]) for part in found[0]}

    def _asked(self, images: Images, piece: range, progress: Progress | None) -> Arrays:
        """Features and logits of images as they are."""
        features, logits = [], []
        for batch in self._on_device(images, piece, self._batch_size):
            features.append((said := self._fast(batch))[0])
            logits.append(said[1])
            if progress:
                progress.advance(len(batch))
        found = {"features": in_memory(features), "logits": in_memory(logits)}
        require_finite_logits(found["logits"], images.ids[piece.start : piece.stop])
        return found

    def _asked_changed(
        self, images: Images, change: Change, piece: range, limits: Rejection, progress: Progress | None
    ) -> Arrays:
        """Logits of images after a change, and how unusual they are."""
        said = []
        starts = range(piece.start, piece.stop, CHUNK)
        for start, pixels in zip(starts, self._on_device(images, piece, CHUNK), strict=True):
            changed = change(pixels, start).to(self.runtime.device)
            for batch in torch.split(changed, self._batch_size):
                said.append(self._fast(batch))
                if progress:
                    progress.advance(len(batch))
        features, logits = map(in_memory, zip(*said, strict=True))
        ids = images.ids[piece.start : piece.stop]
        require_finite_logits(logits, ids)
        outputs = Outputs(features, logits, None, ids, self.classifier.class_names)
        return {"logits": logits, "scores": limits.scores(outputs)}

    def _on_device(self, images: Images, piece: range, size: int) -> Iterator[Tensor]:
        for start in range(piece.start, piece.stop, size):
            yield to_device(images.take(slice(start, min(start + size, piece.stop))), self.runtime.device)

    @cached_property
    def _fast(self) -> FastClassifier:
        return FastClassifier(self.classifier, self.runtime, self.console)

    @property
    def _batch_size(self) -> int:
        """Images per forward pass: a chunk holds a whole number of batches, or nearly."""
        return -(-CHUNK // -(-CHUNK // self._fast.engine.batch_size()))

    def _path(self, images: Images, name: str, piece: range) -> Path:
        classifier, runtime = self.classifier, self.runtime
        spec, place, averaging = classifier.input_spec, runtime.device.type, classifier.averaging
        size = images.size_px
        key = key_of(self.model_digest, spec, size, "head", "none", runtime.precision, place, averaging)
        parts = [key.digest, images.fingerprint, name, piece.start]
        return self.folder / f"{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]}.pass.safetensors"


def against(limits: Rejection) -> str:
    """What the scores of changed images depend on besides the network."""
    return f", {limits.score} of {len(limits.bank)} images" if limits.bank is not None else ""


def pieces(count: int) -> list[range]:
    """Images 0..count-1 in order, a file's worth at a time; one empty piece where there are none."""
    return [range(start, min(start + PIECE, count)) for start in range(0, max(count, 1), PIECE)]


def in_memory(batches: Sequence[Tensor]) -> Floats:
    """Batches as one float32 array on the host, moved there once."""
    together: Floats = torch.cat([batch.float() for batch in batches]).cpu().numpy()
    return together
