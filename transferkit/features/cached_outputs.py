"""What a classifier with a frozen body says of images: its features come from the store."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from transferkit.data.images import Images
from transferkit.features.fast_classifier import collect
from transferkit.features.forward_pass import BatchSize
from transferkit.features.stored import stored_features
from transferkit.metrics.outputs import Outputs, require_finite_logits
from transferkit.models.classifier import Classifier
from transferkit.runtime.array_types import Features
from transferkit.runtime.console import Console
from transferkit.runtime.machine import Runtime

HEAD_ROWS = 4096  # features that pass through a head at once


def outputs_of(
    classifier: Classifier,
    images: Images,
    runtime: Runtime,
    console: Console,
    title: str,
    batch_size: BatchSize = "auto",
) -> Outputs:
    """What a classifier says of images; where its body is frozen as a whole, features come from the store.

    Both ways run the body as a `LayerNetwork`, so they agree.

    Raises:
        MachineError: If a feature or logit is not finite; names an image.
    """
    if not classifier.has_frozen_body:
        return collect(classifier, images, runtime, console, title, batch_size)
    features = stored_features(classifier, images, runtime, console, title, batch_size)
    return under_head(classifier.eval().head, features, images, runtime.device)


@torch.inference_mode()
def under_head(head: Callable[[Tensor], Tensor], features: Features, images: Images, device: torch.device) -> Outputs:
    """The outputs of images whose features (N, D) are known, in fp32, under a head that lies on the device.

    Raises:
        MachineError: If a logit is not finite; names the first such image.
    """
    rows = (torch.from_numpy(chunk).to(device) for chunk in in_chunks(features))
    chunks = [head(chunk).cpu().numpy() for chunk in rows]
    width = len(images.class_names)
    logits = np.concatenate([np.zeros((0, width), np.float32), *chunks])
    require_finite_logits(logits, images.ids)
    return Outputs(np.asarray(features), logits, images.labels, images.ids, images.class_names)


def in_chunks(features: Features) -> Iterator[Features]:
    """Rows in order, a few thousand at a time."""
    return (features[start : start + HEAD_ROWS] for start in range(0, len(features), HEAD_ROWS))
