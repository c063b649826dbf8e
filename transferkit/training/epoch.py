"""One epoch of gradient steps."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from transferkit.metrics.history import Epoch
from transferkit.models.classifier import Classifier
from transferkit.models.preparation import as_unit_range
from transferkit.runtime.console import Progress
from transferkit.runtime.machine import Runtime
from transferkit.training import averages
from transferkit.training.checkpoint import Training
from transferkit.training.failure import random_state, read_later, require_finite
from transferkit.training.mixing import mix
from transferkit.training.optimizers import clipped_norm, set_rates
from transferkit.training.pace import Pace
from transferkit.training.rates import rate_share
from transferkit.training.resolved import Mixing, ResolvedTraining

STEPS_BETWEEN_WORDS = 25  # the loss is told this often


def run_epoch(
    training: Training,
    batches: Iterator[tuple[Tensor, Tensor]],
    settings: ResolvedTraining,
    pace: Pace,
    runtime: Runtime,
    progress: Progress,
) -> Epoch:
    """One pass of steps, or what the pace leaves of it; returns mean loss, rate, gradient norm and throughput.

    What val says is not known yet.

    Raises:
        StepFailed: If the loss or the gradient is not finite, before the weights are changed by it.
    """
    training.classifier.train()
    losses: list[float] = []
    norms: list[Tensor] = []  # read from the device once, at the epoch's end
    earlier, started = training.seconds, time.perf_counter()
    seen = reported = batch_size = 0
    for images, labels in batches:
        total_steps = pace.total_steps(training.step, earlier + time.perf_counter() - started)
        loss, norm = _step(training, images, labels, settings, total_steps, runtime)
        losses.append(loss)
        norms.append(norm)
        batch_size = len(images)
        seen += batch_size
        if len(losses) % STEPS_BETWEEN_WORDS == 0:
            words = f"step {training.step:,}/{total_steps:,}, loss {loss:.3f}"
            _show(progress, seen - reported, (total_steps - training.step) * batch_size, words)
            reported = seen
        if pace.is_over(training.step, earlier + time.perf_counter() - started):
            break
    seconds = time.perf_counter() - started
    _show(progress, seen - reported, (pace.total_steps(training.step, earlier + seconds) - training.step) * batch_size)
    return Epoch(
        epoch=training.epochs + 1,
        step=training.step,
        loss=sum(losses) / len(losses),
        lr=max(group["lr"] / group["scale"] for group in training.optimizer.param_groups),
        gradient_norm=float(torch.stack(norms).mean()),
        images_per_second=seen / seconds,
        seconds=seconds,
    )


def _step(
    training: Training,
    images: Tensor,
    labels: Tensor,
    settings: ResolvedTraining,
    total_steps: int,
    runtime: Runtime,
) -> tuple[float, Tensor]:
    """One gradient step, and its loss; the gradient's norm stays on the device.

    Raises:
        StepFailed: If the loss or the gradient is not finite.
    """
    random = random_state(images.device)
    share = rate_share(training.step, total_steps, settings.warmup, settings.schedule)
    set_rates(training, share)
    loss = batch_loss(training.classifier, images, labels, settings.mixing, runtime, training.loss_weights)
    read_loss = read_later(loss.detach())
    loss.backward()  # type: ignore[no-untyped-call]
    if settings.l2_sp:
        pull_to_start(training, settings.l2_sp)
    norm = clipped_norm(training, settings.clip_norm or math.inf)
    require_finite(read_loss(), norm, (images, labels), random)
    training.optimizer.step()
    training.optimizer.zero_grad(set_to_none=True)
    training.step += 1
    if training.average is not None:
        update = averages.look_ahead if settings.average == "lookahead" else averages.follow
        update(training.average, training.classifier.state_dict(), training.step, total_steps)
    return read_loss(), norm


def _show(progress: Progress, fresh: int, images_left: int, words: str | None = None) -> None:
    """Move the bar on by the images seen since, towards what is now expected in all."""
    progress.total = progress.done + fresh + images_left
    progress.advance(fresh, words)


def batch_loss(
    classifier: Classifier,
    images: Tensor,
    labels: Tensor,
    mixing: Mixing,
    runtime: Runtime,
    weights: Tensor | None = None,
) -> Tensor:
    """Cross-entropy of the logits in fp32, of images mixed as the settings say; with weights (C,) a weighted mean."""
    mixed, other, share = mix(as_unit_range(images), labels, mixing)
    with runtime.autocast():
        logits = classifier(mixed)
    criterion = partial(F.cross_entropy, logits.float(), weight=weights, label_smoothing=mixing.label_smoothing)
    loss = share * criterion(target=labels)
    return loss if share == 1 else loss + (1 - share) * criterion(target=other)


def pull_to_start(training: Training, alpha: float) -> None:
    """L2-SP (Li et al. 2018, eq. 2): the gradient of alpha/2 |w - w_start|^2, for the backbone alone."""
    for name, value in training.classifier.body.named_parameters():
        if value.grad is not None:
            value.grad.add_(value.detach() - training.anchor[name], alpha=alpha)
