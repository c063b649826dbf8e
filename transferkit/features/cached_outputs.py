"""What a classifier with a frozen body says of images: its features come from the store."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from transferkit.data.images import Images
from transferkit.features.engine import BatchSize
from transferkit.features.fast_classifier import collect, logits_of
from transferkit.features.finite import require_finite_logits
from transferkit.features.stored import stored_features
from transferkit.metrics.outputs import Outputs
from transferkit.models.classifier import Classifier
from transferkit.runtime.array_types import Features
from transferkit.runtime.console import Console
from transferkit.runtime.machine import Runtime


def outputs_of(
    classifier: Classifier,
    images: Images,
    runtime: Runtime,
    console: Console,
    title: str,
    batch_size: BatchSize = "auto",
) -> Outputs:
    """What a classifier says of images; where its body is frozen as a whole, features come from the store.

    Raises:
        MachineError: If a feature or logit is not finite; names an image.
    """
    if not classifier.has_frozen_body:
        return collect(classifier, images, runtime, console, title, batch_size)
    features = stored_features(classifier, images, runtime, console, title, batch_size)
    return under_head(classifier.eval().head, features, images, runtime.device)


def under_head(head: Callable[[Tensor], Tensor], features: Features, images: Images, device: torch.device) -> Outputs:
    """The outputs of images whose features (N, D) are known, in fp32, under a head that lies on the device.

    Raises:
        MachineError: If a logit is not finite; names the first such image.
    """
    logits = logits_of(head, features, len(images.class_names), device)
    require_finite_logits(logits, images.ids)
    return Outputs(np.asarray(features), logits, images.labels, images.ids, images.class_names, images.groups)
