"""Classes with few images: weights of the loss, evenly drawn batches, or logits shifted by how common a class is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from transferkit.data.images import Images
from transferkit.models.classifier import Classifier
from transferkit.models.linear.objective import ClassWeight
from transferkit.runtime.errors import TransferkitError, did_you_mean


@dataclass(frozen=True)
class Balance:
    """What is done about uneven classes; at most one of the three.

    Attributes:
        class_weight: Of the loss: `even`; `balanced`, n / (C n_k) for class k; or by name, 1 for the others.
        sampler: Whether an epoch has every image once, or every class as often (drawn with replacement).
        logit_adjustment: tau of Menon et al. 2021 (arXiv:2007.07314, eq. 9): after training the logit of class k loses
            tau log(n_k / n); 0 is off.
    """

    class_weight: Literal["even", "balanced"] | Mapping[str, float]
    sampler: Literal["shuffled", "balanced"]
    logit_adjustment: float

    def loss_weights(self, images: Images, device: torch.device) -> Tensor | None:
        """(C,), what an image of each class counts in the loss; None where all count the same.

        Raises:
            TransferkitError: If a class is named that is not there.
        """
        if self.class_weight == "even":
            return None
        if self.class_weight == "balanced":
            return balanced_weights(counts(images)).to(device)
        return named_weights(self.class_weight, images.class_names).to(device)

    def probe_weights(self, class_names: Sequence[str]) -> ClassWeight:
        """The same for the probe that fine-tuning starts from."""
        if isinstance(self.class_weight, Mapping):
            return named_weights(self.class_weight, class_names).double()
        return "balanced" if "balanced" in (self.class_weight, self.sampler) else None

    def draw_weights(self, images: Images) -> Tensor | None:
        """(N,), how likely each image is drawn; None where each is seen once."""
        if self.sampler == "shuffled":
            return None
        return balanced_weights(counts(images))[torch.from_numpy(images.require_labels())]

    def adjust(self, classifier: Classifier, images: Images) -> None:
        """Shift the logits of a classifier that was trained on these images, by its head's bias.

        Raises:
            TransferkitError: If the head has no bias, or a class has no image.
        """
        if not self.logit_adjustment:
            return
        head, numbers = classifier.head, counts(images)
        if not isinstance(head, nn.Linear) or head.bias is None:
            raise TransferkitError(
                f"logit_adjustment shifts the biases of a linear head, and the head is {type(head).__name__} without "
                "them. Use class_weight balanced."
            )
        if empty := [name for name, number in zip(images.class_names, numbers, strict=True) if not number]:
            raise TransferkitError(
                f"logit_adjustment divides by how common a class is, and {empty[0]!r} has no training image. "
                "Leave that class out, or use class_weight balanced."
            )
        shift = self.logit_adjustment * torch.log(numbers / numbers.sum())
        with torch.no_grad():
            head.bias.sub_(shift.to(head.bias))


NO_BALANCE = Balance("even", "shuffled", 0.0)


def counts(images: Images) -> Tensor:
    """(C,), the number of images of each class."""
    numbers = np.bincount(images.require_labels(), minlength=len(images.class_names))
    return torch.from_numpy(numbers).float()


def balanced_weights(numbers: Tensor) -> Tensor:
    """(C,), n / (C n_k) as in scikit-learn, C counting the classes that have images; 0 for the others."""
    present = numbers > 0
    return torch.where(present, numbers.sum() / (present.sum() * numbers.clamp(min=1)), 0.0)


def named_weights(given: Mapping[str, float], class_names: Sequence[str]) -> Tensor:
    """(C,), the weight of each class as given by name, 1 where it is not.

    Raises:
        TransferkitError: If a class is named that is not there, or a weight is no positive number.
    """
    for name, weight in given.items():
        if name not in class_names:
            raise TransferkitError(f"class_weight names {name!r}, which is no class. {did_you_mean(name, class_names)}")
        if not (math.isfinite(weight) and weight > 0):
            raise TransferkitError(f"class_weight of {name!r} is {weight}. Expected a positive number.")
    return torch.tensor([float(given.get(name, 1.0)) for name in class_names])
