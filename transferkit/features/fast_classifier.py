"""A classifier as every command asks it: body folded, in one precision, head in fp32."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from transferkit.data.images import Images, Pixels
from transferkit.features.engine import BatchSize, Engine, gathered
from transferkit.features.finite import require_finite_logits
from transferkit.features.layer_network import LayerNetwork
from transferkit.features.layers import PENULTIMATE
from transferkit.features.pictures import Pictures
from transferkit.metrics.outputs import Outputs
from transferkit.models.classifier import Classifier
from transferkit.models.test_time_augmentation import Averaging
from transferkit.runtime.array_types import Features
from transferkit.runtime.console import Console, Progress
from transferkit.runtime.machine import Runtime

HEAD_ROWS = 4096  # features that pass through a head at once


class FastClassifier:
    """Features and logits of images, in the one form that all commands share: so they agree in every precision.

    In bf16 a body whose BatchNorm is folded gives other third digits than the same body unfolded. Whatever sets a
    threshold and whatever is held against it must therefore ask the same form: the test pass of a run, validation,
    `predict`, `limits` and `export` ask this one, and stored features of a frozen body come from the same engine.

    Attributes:
        classifier: Left as it is, in eval mode.
    """

    def __init__(
        self, classifier: Classifier, runtime: Runtime, console: Console, averaging: Averaging | None = None
    ) -> None:
        """`averaging` stands in for the classifier's own test-time augmentation."""
        self.classifier, self.runtime, self.console = classifier.eval(), runtime, console
        self.averaging = classifier.averaging if averaging is None else averaging

    @cached_property
    def engine(self) -> Engine:
        """Runs the body up to the head's input; made when it is first needed."""
        network = LayerNetwork(self.classifier, [PENULTIMATE], "avg", self.runtime, self.console)
        return Engine(network, self.console, self.averaging)

    @torch.inference_mode()
    def __call__(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """float32 features (B, D) and logits (B, C) on the device, for pixels (B, 3, H, W) on it."""
        features = self.engine(batch)[PENULTIMATE]
        return features, self.classifier.logits(features)

    def answers_to(self, pixels: Pixels) -> tuple[Features, Features]:
        """Features (B, D) and logits (B, C) of one batch (B, 3, H, W); not checked for NaN."""
        features = self.engine.arrays(pixels)[PENULTIMATE]
        return features, self._logits(features)

    def answers(
        self, pictures: Pictures, progress: Progress | None = None, batch_size: BatchSize = "auto"
    ) -> tuple[Features, Features]:
        """Features (N, D) and logits (N, C) of images, in order; not checked for NaN."""
        batches = self.engine.features_of(pictures, progress, batch_size)
        nothing = {PENULTIMATE: np.zeros((0, self.classifier.num_features), np.float32)}
        features = (gathered(batches, len(pictures)) or nothing)[PENULTIMATE]
        return features, self._logits(features)

    def _logits(self, features: Features) -> Features:
        return logits_of(self.classifier.head, features, len(self.classifier.class_names), self.runtime.device)


@torch.inference_mode()
def logits_of(head: Callable[[Tensor], Tensor], features: Features, classes: int, device: torch.device) -> Features:
    """Logits (N, C) of features (N, D), in fp32, under a head that lies on the device."""
    starts = range(0, len(features), HEAD_ROWS)
    rows = (torch.from_numpy(np.asarray(features[start : start + HEAD_ROWS])) for start in starts)
    chunks = [head(chunk.to(device)).cpu().numpy() for chunk in rows]
    return np.concatenate([np.zeros((0, classes), np.float32), *chunks])


def collect(
    classifier: Classifier,
    images: Images,
    runtime: Runtime,
    console: Console,
    title: str,
    batch_size: BatchSize = "auto",
) -> Outputs:
    """What a classifier says of images: one pass in eval mode, in order.

    Raises:
        MachineError: If a logit is not finite; names the first such image.
    """
    with console.progress(title, len(images), is_detail=True) as progress:
        features, logits = FastClassifier(classifier, runtime, console).answers(images, progress, batch_size)
    require_finite_logits(logits, images.ids)
    return Outputs(features, logits, images.labels, images.ids, images.class_names, images.groups)
