"""What a network answers to images, in evaluation mode, for measurements that only need the predicted class."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from transferkit.data.batches import to_device
from transferkit.data.images import Images
from transferkit.models.classifier import Classifier
from transferkit.runtime.array_types import Bools

BATCH = 256


@torch.no_grad()
def predicted_classes(
    classifier: Classifier,
    images: Images,
    device: torch.device,
    change: Callable[[Tensor], Tensor] | None = None,
) -> npt.NDArray[np.int64]:
    """The predicted class (N,) of each image, after `change` to its batch; the classifier is left in eval mode."""
    classifier.eval()
    batches = (to_device(chunk, device) for chunk in images.chunks(BATCH))
    logits = [classifier(batch if change is None else change(batch)) for batch in batches]
    answers: npt.NDArray[np.int64] = torch.cat([rows.argmax(1).cpu() for rows in logits]).numpy()
    return answers


def is_right(classifier: Classifier, images: Images, device: torch.device) -> Bools:
    """(N,) whether each image is given its own class."""
    return np.asarray(predicted_classes(classifier, images, device) == images.require_labels())
