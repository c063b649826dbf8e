"""How good the weights of a training are by now, on the val images, from which it does not learn."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transferkit.data.images import Images
from transferkit.features.fast_classifier import FastClassifier
from transferkit.metrics.history import Epoch, History
from transferkit.models.classifier import Classifier
from transferkit.models.test_time_augmentation import NO_AVERAGING
from transferkit.runtime.console import SILENT
from transferkit.runtime.machine import Runtime
from transferkit.runtime.plurals import counted
from transferkit.runtime.sparkline import sparkline
from transferkit.training.checkpoint import Training


@dataclass(frozen=True)
class Judgement:
    """What one pass over val says.

    Attributes:
        is_right: (N,) bool on the CPU, whether each image is classified as its label says.
        loss: Mean cross-entropy; NaN or infinite where a logit is.
    """

    is_right: Tensor
    loss: float

    @property
    def accuracy(self) -> float:
        """In [0, 1]."""
        return int(self.is_right.sum()) / len(self.is_right)

    def of(self, epoch: Epoch, start: Tensor | None) -> Epoch:
        """The epoch with accuracy, loss and n, and with how many images are right now and were wrong at the start.

        Args:
            epoch: At whose end this was said.
            start: (N,) bool, which images were right at the start; None where nobody looked.
        """
        return replace(
            epoch,
            val_accuracy=self.accuracy,
            val_loss=self.loss if math.isfinite(self.loss) else None,
            val_images=len(self.is_right),
            val_gained=None if start is None else int((start < self.is_right).sum()),
            val_lost=None if start is None else int((self.is_right < start).sum()),
        )


def judge_start(training: Training, val: Images, runtime: Runtime) -> Epoch:
    """Epoch 0, the weights that training starts from; the training remembers which images were right."""
    start, judgement = Epoch(0, step=0, seconds=0.0), judge(training, val, runtime)
    training.right_at_start = judgement.is_right if judgement else None
    return judgement.of(start, None) if judgement else replace(start, val_images=0)


def judge_now(training: Training, epoch: Epoch, val: Images, runtime: Runtime) -> Epoch:
    """An epoch that just ended, with what val says of the weights that would be the result now."""
    judgement = judge(training, val, runtime)
    return judgement.of(epoch, training.right_at_start) if judgement else replace(epoch, val_images=0)


@torch.inference_mode()
def judge(training: Training, val: Images, runtime: Runtime) -> Judgement | None:
    """One pass over val of the weights that would be the result now: the average where there is one.

    Of several processes each asks about its own part of val, so that every image is asked about once.

    Asked in the form that all commands share, so that the start gets what its probe got, and the end what the report
    says, to the image. Every image is seen once: what is averaged over several copies of it at the end would cost
    more than it tells here.
    """
    if not len(val):
        return None
    labels = torch.from_numpy(val.require_labels())
    fast = FastClassifier(result_of(training), runtime, SILENT, NO_AVERAGING)
    own = val.subset(np.arange(len(val))[runtime.world.part(len(val))])
    known = torch.from_numpy(runtime.world.joined(fast.answers(own)[1]))
    return Judgement(known.argmax(1) == labels, float(F.cross_entropy(known, labels)))


def result_of(training: Training) -> Classifier:
    """A classifier with the weights that would be the result now: that in training, or a twin that has the average.

    The twin holds the very tensors of the average, so that nothing is cloned, and whatever stops the pass over val,
    the network in training keeps its own weights.
    """
    if training.average is None:
        return training.classifier
    current = training.classifier.state_dict(keep_vars=True)
    in_place_of = {id(current[name]): nn.Parameter(value, False) for name, value in training.average.items()}
    return copy.deepcopy(training.classifier, in_place_of)


def start_in_words(start: Epoch) -> str:
    """Epoch 0 for the screen.

    Example:
        >>> start_in_words(Epoch(0, val_accuracy=0.9375, val_loss=0.21, val_images=48))
        'start: val 93.8 %, val loss 0.210 (48 images)'
    """
    if start.val_accuracy is None:
        return "start: not judged, because no images were set aside as val"
    loss = "not finite" if start.val_loss is None else f"{start.val_loss:.3f}"
    return f"start: val {100 * start.val_accuracy:.1f} %, val loss {loss} ({counted(start.val_images or 0, 'image')})"


def val_curve(history: History) -> str:
    """Val accuracy from the start on, drawn as small as a word; nothing where it was judged less than twice.

    Example:
        >>> val_curve(History((Epoch(0, val_accuracy=0.5), Epoch(1, val_accuracy=0.9), Epoch(2, val_accuracy=0.7))))
        'val ▁█▄ 70.0 %'
    """
    judged = [epoch.val_accuracy or 0.0 for epoch in history.judged]
    return f"val {sparkline(judged)} {100 * judged[-1]:.1f} %" if len(judged) > 1 else ""


def course_in_words(history: History, drawn: str = "") -> str:
    """What a training did, in a few words: its epochs, and val accuracy from the start to the end, or the last loss.

    Args:
        history: The start and at least one epoch.
        drawn: `val_curve`, where it can be shown.

    Example:
        >>> course_in_words(History((Epoch(0, val_accuracy=0.5), Epoch(1, loss=0.25, val_accuracy=0.7))))
        '1 epoch, val from 50.0 to 70.0 %'
        >>> course_in_words(History((Epoch(0), Epoch(1, loss=0.5), Epoch(2, loss=0.25))))
        '2 epochs, loss 0.250'
    """
    trained = [epoch for epoch in history if epoch.epoch]
    epochs = counted(len(trained), "epoch")
    judged = [epoch.val_accuracy or 0.0 for epoch in history.judged]
    if len(judged) > 1:
        return f"{epochs}, {drawn or f'val from {100 * judged[0]:.1f} to {100 * judged[-1]:.1f} %'}"
    losses = [epoch.loss for epoch in trained if epoch.loss is not None]
    return ", ".join([epochs, *(f"loss {loss:.3f}" for loss in losses[-1:])])
