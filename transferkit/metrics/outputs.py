"""What a classifier says about one image set, kept so that the network runs only once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from transferkit.runtime.array_records import read_array_record, write_array_record
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.plurals import counted


@dataclass(frozen=True)
class Outputs:
    """Features, logits and labels of one image set; every metric is a pure function of them.

    Attributes:
        features: (N, D) float32, the head's input.
        logits: (N, C) float32, never probabilities.
        labels: (N,) int64 in 0..C-1; None for images of foreign classes, and for those without labels.
        ids: N strings, the path or index of each image.
        class_names: C strings.
        groups: N strings, what each image belongs to, as a patient; None where every image stands for itself.
    """

    features: npt.NDArray[np.float32]
    logits: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64] | None
    ids: tuple[str, ...]
    class_names: tuple[str, ...]
    groups: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        sizes = {len(self.features), len(self.logits), len(self.ids)}
        sizes |= set() if self.labels is None else {len(self.labels)}
        sizes |= set() if self.groups is None else {len(self.groups)}
        if len(sizes) != 1:
            raise TransferkitError(f"Outputs need one row per image in every part; found sizes {sorted(sizes)}.")
        if self.logits.shape[1] != len(self.class_names):
            raise TransferkitError(
                f"Outputs have {self.logits.shape[1]} logits per image but "
                f"{counted(len(self.class_names), 'class name')}."
            )

    def __len__(self) -> int:
        return len(self.ids)

    def require_labels(self) -> npt.NDArray[np.int64]:
        """(N,) int64, for what cannot do without them.

        Raises:
            TransferkitError: If the images have no labels among these classes.
        """
        if self.labels is None:
            raise TransferkitError(
                f"These outputs of {len(self)} images have no labels, so that nothing can be right or wrong. Expected "
                f"labels among the {counted(len(self.class_names), 'class', 'classes')} of the "
                "network: take images with labels."
            )
        return self.labels

    @cached_property
    def predictions(self) -> npt.NDArray[np.int64]:
        """(N,), the class of the largest logit; ties go to the lower index."""
        predictions: npt.NDArray[np.int64] = self.logits.argmax(axis=1)
        return predictions

    @cached_property
    def is_right(self) -> npt.NDArray[np.bool_]:
        """(N,) whether each image is classified as its label says."""
        is_right: npt.NDArray[np.bool_] = self.predictions == self.require_labels()
        return is_right

    @cached_property
    def log_probabilities(self) -> npt.NDArray[np.float64]:
        """(N, C), log-softmax of the logits in float64."""
        shifted = self.logits.astype(np.float64) - self.logits.max(axis=1, keepdims=True)
        normalised: npt.NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        return normalised

    @cached_property
    def confidences(self) -> npt.NDArray[np.float64]:
        """(N,), the softmax probability of the predicted class."""
        confidences: npt.NDArray[np.float64] = np.exp(self.log_probabilities.max(axis=1))
        return confidences

    def save(self, path: Path) -> None:
        """Write to a .safetensors file."""
        write_array_record(path, self)

    @classmethod
    def load(cls, path: Path) -> Outputs:
        """Read what `save` wrote.

        Raises:
            TransferkitError: If the file is missing, damaged or something else.
        """
        return read_array_record(path, cls, "outputs")
