"""One epoch of gradient steps."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from transferkit.metrics.history import Epoch
from transferkit.runtime.console import Progress
from transferkit.runtime.distributed import World
from transferkit.runtime.machine import Runtime
from transferkit.runtime.torch_compiler import take_step
from transferkit.training import averages
from transferkit.training.checkpoint import (
    SECONDS_BETWEEN_SAVES_INSIDE,
    Training,
    UnfinishedEpoch,
    random_state,
    save,
    set_random_state,
)
from transferkit.training.failure import require_finite
from transferkit.training.optimizers import clipped_norm, set_rates
from transferkit.training.pace import Pace
from transferkit.training.rates import rate_share
from transferkit.training.replicas import Network, average_statistics, batchnorm_over, replica
from transferkit.training.resolved import ResolvedTraining
from transferkit.training.step_loss import StepLoss

STEPS_BETWEEN_WORDS = 25  # the loss is told this often


@dataclass
class StepLog:
    """What the steps of an epoch gave.

    Attributes:
        losses: Of each.
        norms: Of each one's gradient; read from the device once, at the epoch's end.
        images: How many they learnt from.
        seconds: Of those before the last stop.
    """

    losses: list[float]
    norms: list[Tensor]
    images: int = 0
    seconds: float = 0.0

    @classmethod
    def after(cls, training: Training, device: torch.device) -> StepLog:
        """That of an epoch's beginning, or of the middle that it goes on from, whose random state is put back."""
        if (epoch := training.unfinished) is None:
            return cls([], [])
        set_random_state(epoch.random, device)
        return cls(epoch.losses.tolist(), list(epoch.norms.to(device)), epoch.images, epoch.seconds)

    def add(self, loss: float, norm: Tensor, images: int) -> None:
        """Another step."""
        self.losses.append(loss)
        self.norms.append(norm)
        self.images += images

    def unfinished(self, seconds: float, device: torch.device) -> UnfinishedEpoch:
        """What to keep, so many seconds after the last stop."""
        losses, norms = torch.tensor(self.losses, dtype=torch.float64), torch.stack(self.norms)
        return UnfinishedEpoch(losses, norms, self.images, self.seconds + seconds, random_state(device))


def run_epoch(
    training: Training,
    batches: Iterator[tuple[Tensor, Tensor]],
    settings: ResolvedTraining,
    pace: Pace,
    runtime: Runtime,
    progress: Progress,
    checkpoint: Path | None = None,
) -> Epoch:
    """One pass of steps, or what the pace leaves of it; returns mean loss, rate, gradient norm and throughput.

    A long one is kept at `checkpoint` every few minutes; `training.unfinished` is what such a one goes on from.

    What val says is not known yet.

    Raises:
        StepFailed: If the loss or the gradient is not finite, before the weights are changed by it.
    """
    training.classifier.train()
    world, network = runtime.world, replica(training.classifier, runtime.world)
    log = StepLog.after(training, runtime.device)
    step_loss = StepLoss(settings.mixing, settings.batch_size, runtime, training.loss_weights)
    followed = {
        name: value for name, value in training.classifier.state_dict().items() if name not in training.unaveraged
    }
    earlier, started = training.seconds + log.seconds, time.perf_counter()
    saved, reported, batch_size = started, log.images, 0
    for images, labels in batches:
        total_steps = pace.total_steps(training.step, _seconds(earlier, started, pace, world))
        loss, norm = _step(training, network, (images, labels), settings, total_steps, step_loss, followed)
        batch_size = len(labels)
        log.add(loss, norm, batch_size)
        if len(log.losses) % STEPS_BETWEEN_WORDS == 0:
            words = f"step {training.step:,}/{total_steps:,}, loss {loss:.3f}"
            _show(progress, log.images - reported, (total_steps - training.step) * batch_size, words)
            reported = log.images
        if pace.is_over(training.step, _seconds(earlier, started, pace, world)):
            break
        if checkpoint is not None and time.perf_counter() - saved >= SECONDS_BETWEEN_SAVES_INSIDE:
            saved = time.perf_counter()
            training.unfinished = log.unfinished(saved - started, runtime.device)
            save(training, checkpoint)
    training.unfinished = None
    average_statistics(training, world)
    seconds = log.seconds + time.perf_counter() - started
    _show(
        progress,
        log.images - reported,
        (pace.total_steps(training.step, training.seconds + seconds) - training.step) * batch_size,
    )
    return Epoch(
        epoch=training.epochs + 1,
        step=training.step,
        loss=sum(log.losses) / len(log.losses),
        lr=training.lr,
        gradient_norm=float(torch.stack(log.norms).mean()),
        images_per_second=log.images / seconds,
        seconds=seconds,
    )


def _seconds(earlier: float, started: float, pace: Pace, world: World) -> float:
    """How long all epochs took by now; where that decides about the end, by the leader's clock in every process."""
    seconds = earlier + time.perf_counter() - started
    return seconds if pace.seconds is None else world.from_leader(seconds)


def _step(
    training: Training,
    network: Network,
    batch: tuple[Tensor, Tensor],
    settings: ResolvedTraining,
    total_steps: int,
    step_loss: StepLoss,
    followed: Mapping[str, Tensor],
) -> tuple[float, Tensor]:
    """One gradient step, and its loss; the gradient's norm stays on the device.

    `followed` are the weights and buffers that an average follows, by name.

    Raises:
        StepFailed: If the loss or the gradient is not finite.
    """
    random = random_state(batch[0].device)
    share = rate_share(training.step, total_steps, settings.warmup, settings.schedule)
    set_rates(training, share)
    with batchnorm_over(step_loss.runtime.world, is_synchronised=settings.sync_batchnorm):
        read_loss = step_loss.backward(network, *batch)
    if settings.l2_sp:
        pull_to_start(training, settings.l2_sp)
    norm = clipped_norm(training, settings.clip_norm or math.inf)
    require_finite(read_loss(), norm, batch, random)
    take_step(training.optimizer)
    training.step += 1
    if training.average is not None:
        update = averages.look_ahead if settings.average == "lookahead" else averages.follow
        update(training.average, followed, training.step, total_steps)
    return read_loss(), norm


def _show(progress: Progress, fresh: int, images_left: int, words: str | None = None) -> None:
    """Move the bar on by the images seen since, towards what is now expected in all."""
    progress.total = progress.done + fresh + images_left
    progress.advance(fresh, words)


def pull_to_start(training: Training, alpha: float) -> None:
    """L2-SP (Li et al. 2018, eq. 2): the gradient of alpha/2 |w - w_start|^2, for the backbone alone."""
    for name, value in training.classifier.body.named_parameters():
        if value.grad is not None:
            value.grad.add_(value.detach() - training.anchor[name], alpha=alpha)
