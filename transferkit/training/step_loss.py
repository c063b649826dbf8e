"""The loss of one step, as the sum of what each part of its batch adds to it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial, reduce
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

from transferkit.runtime.distributed import ALONE, World
from transferkit.runtime.machine import Runtime
from transferkit.training.mixing import MixedBatch
from transferkit.training.replicas import (
    Network,
    is_last_pass,
    own_dropout,
    seeds_from_here,
    set_last_pass,
    sum_read_later,
)
from transferkit.training.resolved import Mixing


@dataclass(frozen=True)
class StepLoss:
    """Cross-entropy of the logits in fp32, the mean over all images of a step, in whatever processes they are.

    Attributes:
        mixing: Of the images and labels.
        batch_size: Images of one pass at most; a step of more is made in parts, whose gradients add up to its own.
        runtime: Where it is computed, in which precision, and with which other processes.
        class_weights: (C,), what an image of each class counts; None where all count the same.
        dropout_seeds: One for each step, where there are several processes; the same numbers in all of them.
    """

    mixing: Mixing
    batch_size: int
    runtime: Runtime
    class_weights: Tensor | None = None
    dropout_seeds: torch.Generator = field(default_factory=seeds_from_here)

    def backward(self, network: Network, images: Tensor, labels: Tensor) -> Callable[[], float]:
        """Add the gradients of a step to those of the parameters, and give its loss.

        The loss is that of all images of the step. Its copy from the device has begun before the last backward pass,
        for which nothing waits.

        Args:
            network: The classifier, or its replica among those of other processes.
            images: (B, 3, H, W) uint8 of the whole step, or those of this process's part.
            labels: (B,), of the whole step.
        """
        total = torch.zeros((), device=images.device)
        read_loss: Callable[[], float] = total.item
        for loss in self.parts(network, images, labels):
            total = total + loss.detach()
            if is_last_pass(network):
                read_loss = sum_read_later(total, self.runtime.world)
            (self.runtime.world.size * loss).backward()  # type: ignore[no-untyped-call]
        return read_loss

    def parts(self, network: Network, images: Tensor, labels: Tensor) -> Iterator[Tensor]:
        """What each part adds to the loss: its sum over the images, divided by what all images of the step count.

        With class weights that is the weighted mean over the whole step, which a mean of the parts' means is not.
        """
        world, count = self.runtime.world, len(labels)
        own = world.part(count)
        batch = MixedBatch.of(images, labels, self.mixing, 0 if len(images) == count else own.start)
        counted = count if self.class_weights is None else self.class_weights[labels].sum()
        parts = even_parts(count, self.batch_size, world)
        with own_dropout(world, self.dropout_seeds):
            for number, part in enumerate(parts, 1):
                set_last_pass(network, number == len(parts))
                yield self._summed(network, batch, part) / counted

    def _summed(self, network: Network, batch: MixedBatch, part: slice) -> Tensor:
        with self.runtime.autocast_of_training():
            logits = network(batch.pixels(part))
        criterion = partial(
            F.cross_entropy,
            logits.float(),
            weight=self.class_weights,
            reduction="sum",
            label_smoothing=self.mixing.label_smoothing,
        )
        return reduce(torch.add, [share * criterion(target=labels) for share, labels in batch.targets(part)])


def even_parts(count: int, largest: int, world: World = ALONE) -> list[slice]:
    """The fewest parts of at most so many images, as even as they can be, so that none is left with one image.

    Of several processes, each has its own part of the images, in as many parts as the others.

    Example:
        >>> even_parts(10, 4)
        [slice(0, 3, None), slice(3, 6, None), slice(6, 10, None)]
        >>> even_parts(10, 4, World(rank=1, size=2))
        [slice(5, 7, None), slice(7, 10, None)]
    """
    parts, own = passes(count, largest, world), world.part(count)
    ends = [own.start + number * (own.stop - own.start) // parts for number in range(parts + 1)]
    return [slice(start, end) for start, end in pairwise(ends)]


def smallest_part(count: int, largest: int, world: World = ALONE) -> int:
    """Images of the smallest of these parts, in whichever process."""
    return count // world.size // passes(count, largest, world)


def passes(count: int, largest: int, world: World) -> int:
    """In how many parts each process makes its part of a step."""
    return math.ceil(math.ceil(count / world.size) / largest)
