"""A finished run as something that names what is in a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from transferkit import backbones, runtime
from transferkit.batches import to_device
from transferkit.checkpoint import read_tensors
from transferkit.classifier import Classifier, InputSpec
from transferkit.decoding import decode
from transferkit.errors import TransferkitError
from transferkit.images import Images, Pixels
from transferkit.recipe import FolderData, backbone_settings
from transferkit.run_directory import Run, open_run
from transferkit.screen import SILENT

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Prediction:
    """What the model says about one image; `probabilities` sum to 1, in the order of the class names."""

    name: str
    probability: float
    probabilities: dict[str, float]


@dataclass(frozen=True)
class Model:
    """A trained classifier with what it needs to look at new images as it looked at its own."""

    classifier: Classifier
    machine: runtime.Runtime
    storage_px: int
    fit: str

    @property
    def class_names(self) -> tuple[str, ...]:
        """The only answers this model can give."""
        return self.classifier.class_names

    def predict(self, images: Any, batch_size: int = 128) -> list[Prediction]:
        """One prediction per image.

        Args:
            images: A path or a list of paths, PIL images, a uint8 array (N, H, W, 3) or (N, 3, H, W), or `Images`.
            batch_size: Images per forward pass.

        Raises:
            TransferkitError: If the images cannot be read.
        """
        pixels = as_pixels(images, self.storage_px, self.fit)
        rows = np.concatenate(
            [self._probabilities(pixels[at : at + batch_size]) for at in range(0, len(pixels), batch_size)]
        )
        names = self.class_names
        return [
            Prediction(names[row.argmax()], float(row.max()), dict(zip(names, map(float, row), strict=True)))
            for row in rows
        ]

    def _probabilities(self, pixels: Pixels) -> npt.NDArray[np.float32]:
        with torch.inference_mode(), self.machine.autocast():
            logits = self.classifier(to_device(np.ascontiguousarray(pixels), self.machine.device))
        probabilities: npt.NDArray[np.float32] = logits.float().softmax(1).cpu().numpy()
        return probabilities


def load(run: Path | str, device: str = "auto") -> Model:
    """The model of a finished run.

    Raises:
        TransferkitError: If there is no finished run at this path.
    """
    place = open_run(Path(run))
    machine = runtime.start(device)
    classifier = load_classifier(place).to(machine.device).eval()
    data = place.recipe.data
    fit = data.fit if isinstance(data, FolderData) else "squash"
    return Model(classifier, machine, int(min(place.facts["data"]["size_px"])), fit)


def load_classifier(run: Run) -> Classifier:
    """The classifier of a run, from its files alone; no weights are looked up elsewhere."""
    facts = run.model
    settings = backbone_settings({**facts["backbone"], "weights": "none"})
    spec = InputSpec(**{**facts["input"], "mean": tuple(facts["input"]["mean"]), "std": tuple(facts["input"]["std"])})
    classifier = backbones.load(settings, facts["class_names"], spec.size, SILENT)
    classifier = Classifier(
        classifier.body, classifier.num_features, classifier.class_names, classifier.stages, spec, classifier.weights
    )
    classifier.averages_mirror = bool(facts.get("averages_mirror"))
    tensors, _ = read_tensors(run.path / "model.safetensors")
    classifier.load_state_dict(tensors)
    return classifier


def as_pixels(images: Any, size: int, fit: str) -> Pixels:
    """Images of many kinds as one uint8 array (N, 3, H, W).

    Raises:
        TransferkitError: If the kind is unknown or an image cannot be read.
    """
    if isinstance(images, Images):
        return images.pixels
    if isinstance(images, np.ndarray):
        return _from_array(images)
    items: Sequence[Path | str | Image] = (
        list(images) if isinstance(images, Sequence) and not isinstance(images, str) else [images]
    )
    if not items:
        raise TransferkitError("No images to predict. Expected paths, PIL images or a uint8 array.")
    return np.stack([decode(item, size, fit) for item in items])


def _from_array(array: npt.NDArray[Any]) -> Pixels:
    if array.dtype != np.uint8 or array.ndim not in (3, 4):
        raise TransferkitError(
            f"Expected a uint8 array (N, H, W, 3) or (N, 3, H, W); found {array.dtype} {array.shape}."
        )
    batch = array[None] if array.ndim == 3 else array
    if batch.shape[1] == 3:
        return batch
    if batch.shape[3] == 3:
        return np.ascontiguousarray(batch.transpose(0, 3, 1, 2))
    raise TransferkitError(f"Expected three colour channels; found shape {array.shape}.")
