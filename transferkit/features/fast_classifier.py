"""A classifier as every command asks it: body folded, in one precision, head in fp32."""

from __future__ import annotations

import time
from functools import cached_property

import torch
from torch import Tensor

from transferkit.data.batches import in_order
from transferkit.data.images import Images
from transferkit.features.forward_pass import BatchSize, chosen_batch_size
from transferkit.features.inference import LayerNetwork, synchronise
from transferkit.features.layers import PENULTIMATE
from transferkit.metrics.outputs import Outputs, require_finite_logits
from transferkit.models.classifier import Classifier
from transferkit.models.test_time_augmentation import augmented_copies
from transferkit.runtime.console import Console
from transferkit.runtime.machine import Runtime

LOOK_AFTER = 4  # batches whose time is measured before it is decided whether to compile


class FastClassifier:
    """Features and logits of images, in the one form that all commands share: so they agree in every precision.

    In bf16 a body whose BatchNorm is folded gives other third digits than the same body unfolded. Whatever sets a
    threshold and whatever is held against it must therefore ask the same form: the test pass of a run, `predict`,
    `limits` and `export` ask this one, and stored features of a frozen body come from the same `LayerNetwork`.

    Attributes:
        classifier: Left as it is, in eval mode.
        ahead: Images that are still to come, as far as is known; decides whether compiling pays.
    """

    def __init__(self, classifier: Classifier, runtime: Runtime, console: Console) -> None:
        self.classifier, self.runtime, self.console = classifier.eval(), runtime, console
        self.ahead = 0
        self._batches, self._seconds = 0, 0.0

    @cached_property
    def network(self) -> LayerNetwork:
        """The body up to the head's input; made when it is first needed."""
        return LayerNetwork(self.classifier, [PENULTIMATE], "avg", self.runtime, self.console)

    @property
    def batch_size(self) -> int:
        """Images per forward pass that suit the device and the images' size."""
        return chosen_batch_size("auto", self.network)

    @torch.inference_mode()
    def __call__(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """float32 features (B, D) and logits (B, C) on the device, for pixels (B, 3, H, W) on it."""
        if self._batches == LOOK_AFTER and not self.network.is_compiled:
            batches_ahead = self.ahead / len(batch)
            self.network.compile_if_it_pays(batch, self._seconds / (LOOK_AFTER - 1) * batches_ahead)
        features = self._timed(batch) if self._batches <= LOOK_AFTER else self._features(batch)
        self.ahead = max(0, self.ahead - len(batch))
        return features, self.classifier.logits(features)

    def _timed(self, batch: Tensor) -> Tensor:
        """The first batch pays for what every process pays once, and does not count."""
        synchronise(self.runtime.device)
        started = time.perf_counter()
        features = self._features(batch)
        synchronise(self.runtime.device)
        self._seconds += time.perf_counter() - started if self._batches else 0.0
        self._batches += 1
        return features

    def _features(self, batch: Tensor) -> Tensor:
        copies = augmented_copies(
            self.network.prepare(batch), self.classifier.averages_mirror, self.classifier.averages_shifts
        )
        return torch.stack([weight * self.network.of_prepared(copy)[PENULTIMATE] for weight, copy in copies]).sum(0)


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
    fast = FastClassifier(classifier, runtime, console)
    fast.ahead = len(images)
    features, logits = [], []
    with console.progress(title, len(images)) as progress:
        for batch in in_order(images, chosen_batch_size(batch_size, fast.network), runtime.device):
            batch_features, batch_logits = fast(batch)
            features.append(batch_features.cpu())
            logits.append(batch_logits.cpu())
            progress.advance(len(batch))
    all_logits = torch.cat(logits).numpy()
    require_finite_logits(all_logits, images.ids)
    return Outputs(torch.cat(features).numpy(), all_logits, images.labels, images.ids, images.class_names)
