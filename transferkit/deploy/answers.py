"""Answers to any number of images, batch by batch in their order; an unreadable file is an answer too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from transferkit.deploy.prediction import Model, Prediction, predictions
from transferkit.features.engine import BatchSize, ahead
from transferkit.features.extraction.listing import ListedImage, ListingPart
from transferkit.features.extraction.settings import ExtractSettings, Part
from transferkit.features.extraction.sources import ImageSource, opened_sources
from transferkit.features.finite import require_finite_logits
from transferkit.features.pictures import Pictures
from transferkit.metrics.outputs import Outputs
from transferkit.metrics.thresholds import ACCEPTANCE
from transferkit.runtime.console import Console


@dataclass(frozen=True)
class PredictSettings:
    """How images are answered.

    Attributes:
        acceptance: Share of familiar images that must not be rejected as unknown, in [0.5, 1].
        top: Classes per image that a file of answers holds, likeliest first.
        part: Of a data set.
        batch_size: Images per forward pass.
    """

    acceptance: float = ACCEPTANCE
    top: int = 3
    part: Part = "trainval"
    batch_size: BatchSize = "auto"


@dataclass(frozen=True)
class PredictionTask:
    """Who is asked about which images, and how."""

    model: Model
    source: ImageSource
    settings: PredictSettings

    def pictures(self, lines: Sequence[ListedImage], side_px: int) -> Pictures:
        """The images of some lines, black where a file cannot be read."""
        return self.source.pictures(lines, side_px, _reading(self.model, self.settings))


def task_of(model: Model, words: Sequence[str], settings: PredictSettings, console: Console) -> PredictionTask:
    """The question that a command asks.

    Args:
        model: Of a finished run.
        words: What `extract` takes: files, folders, globs, CSVs; or `-` for a list on standard input; or a data set.
        settings: How to answer.
        console: Hears of an opened test set.

    Raises:
        TransferkitError: If a word means no images.
    """
    return PredictionTask(model, opened_sources(words, _reading(model, settings), console), settings)


def _reading(model: Model, settings: PredictSettings) -> ExtractSettings:
    """How images are found and read, in the words of `extract`: as the model's own were."""
    fit: Literal["crop", "squash"] = "crop" if model.reading.fit == "crop" else "squash"
    return ExtractSettings(
        model.classifier.backbone, resize=fit, part=settings.part, skip_bad=True, reading=model.reading
    )


@dataclass(frozen=True)
class Answer:
    """What a model says about one image of a source.

    Attributes:
        path: Of the file, or the id of an image of a data set.
        prediction: None if the file could not be read.
        error: Why not; else empty.
    """

    path: str
    prediction: Prediction | None
    error: str = ""


def answer(task: PredictionTask, listed: ListingPart) -> Iterator[tuple[Answer, ...]]:
    """The answers to the images of a listing, one batch at a time; the next one is decoded meanwhile.

    Raises:
        MachineError: If a logit is not finite; names the image.
    """
    for pixels, pictures in batches(task, listed):
        yield _answers(task, pixels, pictures)


def batches(task: PredictionTask, listed: ListingPart) -> Iterator[tuple[npt.NDArray[np.uint8], Pictures]]:
    """The images of a listing, one batch at a time as the model takes them; the next one is decoded meanwhile."""
    engine = task.model.fast.engine
    engine.images_ahead = listed.count
    listings = listed.batched(engine.batch_size(task.settings.batch_size))
    yield from ahead(_read(task, lines) for lines in listings)


def unreadable_files(pictures: Pictures) -> Mapping[str, str]:
    """Why some of these files could not be read, by path; of those met so far."""
    reasons: Mapping[str, str] = getattr(pictures, "unreadable", {})
    return reasons


def _read(task: PredictionTask, lines: Sequence[ListedImage]) -> tuple[npt.NDArray[np.uint8], Pictures]:
    pictures = task.pictures(lines, task.model.storage_px)
    return pictures.take(np.arange(len(lines))), pictures


def _answers(task: PredictionTask, pixels: npt.NDArray[np.uint8], pictures: Pictures) -> tuple[Answer, ...]:
    model, ids = task.model, tuple(pictures.ids)
    features, logits = model.fast.answers_to(pixels)
    require_finite_logits(logits, ids)
    outputs = Outputs(features, logits, None, ids, model.class_names)
    answered = predictions(outputs, model.rejection, task.settings.acceptance)
    unreadable = unreadable_files(pictures)
    return tuple(
        Answer(path, None, unreadable[path].removeprefix(f"Cannot read {path}: ").removesuffix("."))
        if path in unreadable
        else Answer(path, prediction)
        for path, prediction in zip(ids, answered, strict=True)
    )
