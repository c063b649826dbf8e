"""What an image is like in training, and the regions that supported the prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from transferkit.data.batches import to_device
from transferkit.data.decoding import decode
from transferkit.data.images import Pixels
from transferkit.data.reading import Reading
from transferkit.deploy.prediction import Model
from transferkit.deploy.serving.documents import Explanation, Neighbour
from transferkit.features.explanations.explain import CAM_BATCH, NEIGHBOURS, nearest_rows
from transferkit.features.explanations.gradcam import CamLayer, cam_layer, gradcam
from transferkit.metrics.explanations import Explanations
from transferkit.metrics.outputs import Outputs
from transferkit.report.inline_images import data_uri, spotlit
from transferkit.report.page import basename
from transferkit.runs.run_directory import Run
from transferkit.runtime.array_types import Features
from transferkit.runtime.errors import TransferkitError

PICTURE_PX = 160  # of what the page shows of an image
NEIGHBOUR_PX = 72


@dataclass(frozen=True)
class TrainingPictures:
    """Pictures of training images, as far as the run holds them or their files lie where they lay.

    Attributes:
        stored: By id, those of the report.
        folder: Of the files; None where the data are no files.
        reading: How files are read.
    """

    stored: dict[str, Pixels]
    folder: Path | None
    reading: Reading

    def uri(self, image: str) -> str:
        """A data URI; empty where there is no picture."""
        if image in self.stored:
            return data_uri(self.stored[image])
        if self.folder is None:
            return ""
        try:
            return data_uri(decode(self.folder / image, NEIGHBOUR_PX, self.reading))
        except TransferkitError:  # moved or removed since
            return ""


def training_pictures(run: Run, reading: Reading) -> TrainingPictures:
    """What can be shown of a run's training images."""
    stored: dict[str, Pixels] = {}
    if run.explanations_path.exists():
        explanations = Explanations.load(run.explanations_path)
        stored = dict(zip(explanations.ids, explanations.pictures, strict=True))
    path = getattr(run.recipe.data, "path", None)
    return TrainingPictures(stored, path if path is not None and Path(path).is_dir() else None, reading)


@dataclass(frozen=True)
class Explainer:
    """Explains answers; used by one thread, since Grad-CAM hooks into the classifier.

    Attributes:
        model: That answers.
        bank: Outputs on training images to compare with; None in runs of earlier versions.
        pictures: Of these images.
        layer: That is mapped.
    """

    model: Model
    bank: Outputs | None
    pictures: TrainingPictures
    layer: CamLayer

    def explanations(self, pixels: Pixels, features: Features, classes: Sequence[int]) -> list[Explanation]:
        """One per image.

        Args:
            pixels: (N, 3, h, w).
            features: (N, D) of these.
            classes: Of the answers, whose evidence is mapped.
        """
        maps = self._maps(pixels, np.asarray(classes, np.int64))
        neighbours = self._neighbours(features)
        crop = self.model.classifier.input_spec.crop
        shown = [_enlarged(picture) for picture in pixels]
        return [
            Explanation(
                data_uri(picture),
                data_uri(spotlit(picture, places, crop)) if places is not None else "",
                self.layer.reason,
                near,
            )
            for picture, places, near in zip(shown, maps, neighbours, strict=True)
        ]

    def _maps(self, pixels: Pixels, classes: npt.NDArray[np.int64]) -> Sequence[npt.NDArray[np.uint8] | None]:
        if not self.layer.name:
            return [None] * len(pixels)
        device, maps = self.model.runtime.device, list[npt.NDArray[np.float32]]()
        for at in range(0, len(pixels), CAM_BATCH):
            chosen = torch.from_numpy(classes[at : at + CAM_BATCH]).to(device)
            images = to_device(np.ascontiguousarray(pixels[at : at + CAM_BATCH]), device)
            maps.extend(gradcam(self.model.classifier, images, chosen, self.layer))
        return [np.round(255 * places).astype(np.uint8) for places in maps]

    def _neighbours(self, features: Features) -> list[tuple[Neighbour, ...]]:
        bank = self.bank
        if bank is None:
            return [()] * len(features)
        rows, cosines = nearest_rows(features, bank.features, NEIGHBOURS)
        return [
            tuple(self._neighbour(bank, int(row), float(cosine)) for row, cosine in zip(near, alike, strict=True))
            for near, alike in zip(rows, cosines, strict=True)
        ]

    def _neighbour(self, bank: Outputs, row: int, cosine: float) -> Neighbour:
        name, image = bank.class_names[int(bank.require_labels()[row])], bank.ids[row]
        picture = self.pictures.uri(image)
        return {"class": name, "path": basename(image), "similarity": round(cosine, 4), "picture": picture}


def explainer_of(run: Run, model: Model) -> Explainer:
    """What explains the answers of a run."""
    bank = run.outputs("bank") if run.outputs_path("bank").exists() else None
    return Explainer(model, bank, training_pictures(run, model.reading), cam_layer(model.classifier))


def _enlarged(picture: Pixels) -> Pixels:
    """A small picture at the size of the page's, so that its map is no coarser than it must be."""
    from PIL import Image

    if min(picture.shape[1:]) >= PICTURE_PX:
        return picture
    image = Image.fromarray(np.ascontiguousarray(picture.transpose(1, 2, 0)))  # (h, w, 3)
    return np.asarray(image.resize((PICTURE_PX, PICTURE_PX), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
