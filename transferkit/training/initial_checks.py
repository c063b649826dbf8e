"""What is checked before the first step: that the network gives logits, and at which loss it starts."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transferkit.data.batches import to_device
from transferkit.data.images import Images
from transferkit.models.classifier import Classifier
from transferkit.models.logit_checks import CLOSE, activation, loss_floor
from transferkit.runs.facts import FirstLoss
from transferkit.runtime.errors import TransferkitError

BLOWN_UP = 1e6  # factor by which features are enlarged, to see whether the head has a ceiling

LOOKED_AT = 128  # images, evenly spread over the training set


def check_start(
    classifier: Classifier, images: Images, device: torch.device, *, has_random_head: bool
) -> FirstLoss | None:
    """Before the first step: refuse outputs that are no logits; the first loss of a random head.

    Raises:
        TransferkitError: Says which activation was found, and what it does to the loss.
    """
    chosen = images.spread(LOOKED_AT)
    pixels = to_device(chosen.pixels, device)
    require_logits(classifier, pixels)
    if not has_random_head or len(chosen) < 2:
        return None
    loss = first_loss(classifier, pixels, torch.from_numpy(chosen.require_labels()).to(device))
    return FirstLoss(loss, len(classifier.class_names))


def require_logits(classifier: Classifier, images: Tensor) -> None:
    """Refuse a network that ends in a softmax, a log-softmax, a sigmoid or another activation with a ceiling.

    Cross-entropy contains the softmax. Behind a second one, the best row is one-hot, whose loss is
    ln(1 + (C - 1) / e): 1.461 for ten classes, which no training can get below.

    Args:
        classifier: Left as it was.
        images: (N, 3, H, W), a few, on the classifier's device.

    Raises:
        TransferkitError: Says which activation was found, and what it does to the loss.
    """
    if type(classifier.head) is nn.Linear and type(classifier).forward is Classifier.forward:
        return
    was_training = classifier.training
    try:
        with torch.no_grad():
            classifier.eval()
            problem = activation(classifier(images).float()) or ceiling(classifier.head, classifier.features(images))
    finally:
        classifier.train(was_training)
    if problem:
        raise TransferkitError(f"{problem} Remove it: a classifier returns logits.")


def ceiling(head: nn.Module, features: Tensor) -> str:
    """What is wrong with a head that goes to one of two values where its features are large; empty where it grows.

    A hidden layer with a ceiling is no fault: behind it, the last layer's weights give many values.

    Args:
        head: (N, D) to (N, C).
        features: (N, D), of some images.
    """
    large = BLOWN_UP * features.float() / features.abs().amax().clamp_min(1e-12)
    outputs = torch.cat([head(large), head(-large)])
    low, high = float(outputs.min()), float(outputs.max())
    has_two_values = bool((((outputs - low).abs() < CLOSE) | ((outputs - high).abs() < CLOSE)).all())
    if not has_two_values or not 0.1 < high - low <= 2 + CLOSE:
        return ""
    floor = loss_floor(outputs.shape[1], high - low)
    return (
        f"The network ends in an activation with a ceiling (a sigmoid, say): its outputs are {low:.2g} or "
        f"{high:.2g} for features {BLOWN_UP:,.0f} times as large as usual, so the loss cannot fall below {floor:.3f}."
    )


def first_loss(classifier: Classifier, images: Tensor, labels: Tensor) -> float:
    """Cross-entropy of one batch in train mode; buffers and random numbers are put back as they were.

    Args:
        classifier: Left as it was, in train mode.
        images: (N, 3, H, W) on its device.
        labels: (N,).
    """
    before = {name: buffer.clone() for name, buffer in classifier.named_buffers()}
    devices = [images.device] if images.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.no_grad():
        loss = float(F.cross_entropy(classifier.train()(images).float(), labels))
        for name, buffer in classifier.named_buffers():
            buffer.copy_(before[name])
    return loss
