"""The loss of one step, as the sum of what each part of its batch adds to it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial, reduce
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

from transferkit.models.classifier import Classifier
from transferkit.runtime.machine import Runtime
from transferkit.training.failure import read_later
from transferkit.training.mixing import MixedBatch
from transferkit.training.resolved import Mixing


@dataclass(frozen=True)
class StepLoss:
    """Cross-entropy of the logits in fp32, the mean over all images of a step.

    Attributes:
        mixing: Of the images and labels.
        batch_size: Images of one pass at most; a step of more is made in parts, whose gradients add up to its own.
        runtime: Where it is computed, and in which precision.
        class_weights: (C,), what an image of each class counts; None where all count the same.
    """

    mixing: Mixing
    batch_size: int
    runtime: Runtime
    class_weights: Tensor | None = None

    def backward(self, classifier: Classifier, images: Tensor, labels: Tensor) -> Callable[[], float]:
        """Add the gradients of a step's images (B, 3, H, W) uint8 to those of the parameters, and give its loss.

        Its copy from the device has begun before the last backward pass, for which nothing waits.
        """
        total = torch.zeros((), device=images.device)
        read_loss: Callable[[], float] = total.item
        for loss in self.parts(classifier, images, labels):
            total = total + loss.detach()
            read_loss = read_later(total)
            loss.backward()  # type: ignore[no-untyped-call]
        return read_loss

    def parts(self, classifier: Classifier, images: Tensor, labels: Tensor) -> Iterator[Tensor]:
        """What each part adds to the loss: its sum over the images, divided by what all images of the step count.

        With class weights that is the weighted mean over the whole step, which a mean of the parts' means is not.
        """
        batch = MixedBatch.of(images, labels, self.mixing)
        counted = len(labels) if self.class_weights is None else self.class_weights[labels].sum()
        for part in even_parts(len(labels), self.batch_size):
            yield self._summed(classifier, batch, part) / counted

    def _summed(self, classifier: Classifier, batch: MixedBatch, part: slice) -> Tensor:
        with self.runtime.autocast():
            logits = classifier(batch.pixels(part))
        criterion = partial(
            F.cross_entropy,
            logits.float(),
            weight=self.class_weights,
            reduction="sum",
            label_smoothing=self.mixing.label_smoothing,
        )
        return reduce(torch.add, [share * criterion(target=labels) for share, labels in batch.targets(part)])


def even_parts(count: int, largest: int) -> list[slice]:
    """The fewest parts of at most so many images, as even as they can be, so that none is left with one image.

    Example:
        >>> even_parts(10, 4)
        [slice(0, 3, None), slice(3, 6, None), slice(6, 10, None)]
    """
    parts = math.ceil(count / largest)
    ends = [number * count // parts for number in range(parts + 1)]
    return [slice(start, end) for start, end in pairwise(ends)]


def smallest_part(count: int, largest: int) -> int:
    """Images of the smallest of these parts."""
    return count // math.ceil(count / largest)
