"""A finished run as something that names what is in a picture."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from transferkit.data.reading import Reading, reading_of
from transferkit.features import int8
from transferkit.features.fast_classifier import FastClassifier
from transferkit.features.pictures import Pictures, as_pictures
from transferkit.metrics.outputs import Outputs
from transferkit.metrics.thresholds import ACCEPTANCE
from transferkit.models.backbones import own_modules
from transferkit.models.classifier import Classifier
from transferkit.ood import rejection
from transferkit.ood.rejection import Rejection
from transferkit.runs.own_images import same_images
from transferkit.runs.run_directory import Run, open_run
from transferkit.runs.stored_classifier import load_classifier
from transferkit.runtime import machine
from transferkit.runtime.console import SILENT, Console
from transferkit.runtime.errors import TransferkitError, quoted
from transferkit.runtime.plurals import counted

NAMED = 5  # classes in the line that a model prints as


@dataclass(frozen=True)
class Prediction:
    """What the model says about one image.

    Attributes:
        name: The likeliest of its classes, also where the image is `unknown`.
        probability: Of that class; the logits are divided by the temperature that val gave.
        probabilities: Of every class, in the order of the class names; they sum to 1.
        unknown: Whether the image is more unusual than the model accepts; None if the run holds no threshold.
        score: How unusual it is, higher = more: for `knn` the distance to training images, from 0 to 2; for `msp` minus
            the log of the likeliest class's share, without the temperature.
        score_name: Which of them.
        percentile: Per cent of the run's own images that are no more unusual; None if the run holds no threshold.
        judged_by: Which images `percentile` speaks of: "validation", or "training" where val is small.
        candidates: Classes that hold the true one for at least 90 % of images like those of val, likeliest first; may
            be empty for an unusual image. None if the run holds no threshold.
    """

    name: str
    probability: float
    probabilities: dict[str, float]
    unknown: bool | None
    score: float
    score_name: str
    percentile: int | None
    candidates: tuple[str, ...] | None
    judged_by: str = "validation"


@dataclass(frozen=True)
class Model:
    """A trained classifier with what it needs to look at new images as it looked at its own.

    Attributes:
        classifier: In eval mode, on its device.
        runtime: Device and precision.
        storage_px: Side of the squares that files become before the classifier prepares them.
        reading: How files are read: as the run's own were.
        rejection: When to say "unknown"; None where the run holds no thresholds.
        folder: Of the run.
    """

    classifier: Classifier
    runtime: machine.Runtime
    storage_px: int
    reading: Reading
    rejection: Rejection | None = None
    folder: Path | None = None

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes it can name; besides these it can answer "unknown"."""
        return self.classifier.class_names

    def __repr__(self) -> str:
        """What model it is, in a line; `classifier` prints the whole network."""
        names = self.class_names
        classes = (
            f"{counted(len(names), 'class', 'classes')} ({', '.join(names[:NAMED])}{', ...' * (len(names) > NAMED)})"
        )
        return f"Model: {self.classifier.backbone}, {self.classifier.input_spec.size} px, {classes}"

    def predict(self, images: Any, batch_size: int = 128, acceptance: float = ACCEPTANCE) -> list[Prediction]:
        """One prediction per image.

        Args:
            images: A path, a folder, a list of paths, PIL images, a uint8 array or tensor (N, H, W, 3) or (N, 3, H, W)
                with as many bands as the run's own images have, or `Images`.
            batch_size: Images per forward pass, at least 1.
            acceptance: Share of images like those of val that must not be rejected as unknown, in [0.5, 1].

        Raises:
            TransferkitError: If the images cannot be read.
        """
        if not isinstance(batch_size, int) or batch_size < 1:
            raise TransferkitError(f"batch_size is {quoted(batch_size)}; expected a whole number of at least 1.")
        require_acceptance(acceptance)
        pictures = pictures_of(images, self.storage_px, self.reading)
        features, logits = self.fast.answers(pictures, batch_size=batch_size)
        ids = tuple(f"image {number}" for number in range(1, len(pictures) + 1))
        outputs = Outputs(features, logits, None, ids, self.class_names)
        return predictions(outputs, self.rejection, acceptance)

    @cached_property
    def fast(self) -> FastClassifier:
        """The classifier in the form that all commands ask."""
        return FastClassifier(self.classifier, self.runtime, SILENT)


def require_acceptance(acceptance: float) -> None:
    """Refuse what is no share of images to accept.

    Raises:
        TransferkitError: If it is not in [0.5, 1].
    """
    if not isinstance(acceptance, int | float) or not 0.5 <= acceptance <= 1:
        raise TransferkitError(f"acceptance is {quoted(acceptance)}; expected a share from 0.5 to 1, such as 0.95.")


def predictions(outputs: Outputs, limits: Rejection | None, acceptance: float) -> list[Prediction]:
    """One per image; unknown are those more unusual than that share of val."""
    class_names = outputs.class_names
    judge = limits or rejection.fit(None)
    scores = judge.scores(outputs)
    shares = np.exp(judge.calibrated(outputs).log_probabilities)
    verdicts = _verdicts(outputs, scores, limits, acceptance)
    return [
        Prediction(
            class_names[best],
            float(row[best]),
            dict(zip(class_names, map(float, row), strict=True)),
            score=float(score),
            score_name=judge.score,
            judged_by=judge.learnt_from,
            unknown=verdict.unknown,
            percentile=verdict.percentile,
            candidates=verdict.candidates,
        )
        for best, row, score, verdict in zip(outputs.predictions, shares, scores, verdicts, strict=True)
    ]


@dataclass(frozen=True)
class Verdict:
    """What a run's limits say about one image; see `Prediction`."""

    unknown: bool | None
    percentile: int | None
    candidates: tuple[str, ...] | None


def _verdicts(
    outputs: Outputs, scores: npt.NDArray[np.float64], limits: Rejection | None, acceptance: float
) -> list[Verdict]:
    """What a run's limits say about each image; nothing where the run holds none."""
    threshold = limits.threshold(acceptance) if limits else None
    if limits is None or threshold is None:
        return [Verdict(None, None, None)] * len(outputs)
    members = limits.candidates(outputs)
    by_rank = np.argsort(-outputs.logits, axis=1, kind="stable")
    return [
        Verdict(
            bool(score > threshold),
            int(percentile),
            tuple(outputs.class_names[index] for index in order if member[index]),
        )
        for score, percentile, order, member in zip(scores, limits.percentile(scores), by_rank, members, strict=True)
    ]


def in_words(prediction: Prediction) -> str:
    """A prediction in columns: name, probability, and what would have been said of an unknown image."""
    if not prediction.unknown:
        return f"{prediction.name}\t{prediction.probability:.3f}"
    return (
        f"unknown\t{prediction.probability:.3f}\twould be {prediction.name}; "
        f"more unusual than {prediction.percentile} % of the {prediction.judged_by} images ({prediction.score_name})"
    )


def no_threshold(model: Model) -> str:
    """Why this model never answers "unknown", or only by its probability; empty where it does better."""
    if model.rejection is None:
        missing = "no threshold for `unknown` and no outputs of val to learn it from"
        return f"This run holds {missing}. Every image gets a class."
    if model.rejection.reason:
        return f"No image can be rejected as unknown: {model.rejection.reason}. Every image gets a class."
    return model.rejection.score_words


def load(run: Run | os.PathLike[str] | str, device: str = "auto", *, module: nn.Module | None = None) -> Model:
    """The model of a finished run, from its folder or from what `finetune`, `probe` or `scratch` returned.

    It computes in the precision in which its thresholds were made.

    Args:
        run: Its folder, or what the call returned.
        device: auto, cpu, cuda, cuda:1 or mps.
        module: The network of a run of your own `nn.Module`, whose code no file holds; with any weights. Whatever
            this program asks of the run afterwards knows it too.

    Raises:
        TransferkitError: If there is no finished run at this path, its files are damaged, or the module is missing or
            another one.
    """
    place = open_run(run)
    if module is not None:
        own_modules.give_again(module, place.model)
    runtime = machine.start(device, place.precision)
    classifier = load_classifier(place).to(runtime.device).eval()
    reading = replace(reading_of(place.recipe.data), channels=len(classifier.input_spec.mean))
    return Model(classifier, runtime, int(min(place.facts.data.size_px)), reading, limits_of(place), place.path)


def in_int8(model: Model, run: os.PathLike[str] | str, console: Console) -> Model:
    """The same model with its body in 8 bits, calibrated on training images of its run; thresholds stay as they are.

    Raises:
        TransferkitError: If packages are missing, the device is no CPU, the run's images are gone or changed, or 8 bits
            change its features too much.
        MachineError: If the network cannot be quantised.
    """
    int8.require(model.runtime.device)
    train = same_images(open_run(run), console).train
    exact = replace(model, runtime=replace(model.runtime, precision="fp32"))
    int8.quantise(exact.fast.engine.network, train.subset(int8.spread(len(train))), console)
    if model.rejection is not None:
        console.line(f"8 bits: `unknown` is judged by thresholds made in {model.runtime.precision}.")
    return exact


def limits_of(run: Run) -> Rejection | None:
    """The thresholds that a run ships; of a run of an earlier version, those that its stored val outputs give.

    Raises:
        TransferkitError: If the run's training images to compare with are gone, or a newer version wrote it.
    """
    return rejection.shipped(run.model.rejection, run.stored_outputs)


def pictures_of(images: Any, size: int, reading: Reading) -> Pictures:
    """Images of many kinds, those in files still undecoded; one array (H, W, 3) or (3, H, W) is one image.

    Raises:
        TransferkitError: If the kind is unknown.
    """
    one_array = getattr(images, "ndim", 0) == 3  # of numpy or torch
    return as_pictures(images[None] if one_array else images, size, reading)
