"""What the epochs of a training say of it."""

from __future__ import annotations

from transferkit.metrics.history import Epoch
from transferkit.runs.checks.finding import Observation
from transferkit.runs.checks.subject import CheckedRun
from transferkit.runtime.shares import percent

NEAR_ZERO = 0.02  # nats; a training image gets 98 % for its class on average
MORE_LOSS = 1.25  # times the lowest val loss
HARDLY_LESS = 0.98  # times the loss of the first epoch
FEWEST_EPOCHS = 3


def memorised(run: CheckedRun) -> Observation | None:
    """The training loss is near zero while val has stood still, and its loss has grown by a quarter since its best.

    The network knows its training images by heart. More of the same training cannot help; more images, or images
    changed at random, can.
    """
    trained, training = _trained(run), run.training
    judged = [epoch for epoch in trained if epoch.val_loss is not None and epoch.val_accuracy is not None]
    if training is None or not judged or judged[-1].loss is None or judged[-1].loss > NEAR_ZERO:
        return None
    last, best = judged[-1], min(judged, key=lambda epoch: epoch.val_loss or 0.0)
    lowest = best.val_loss or 0.0
    if (last.val_loss or 0.0) < MORE_LOSS * lowest or (last.val_accuracy or 0.0) > (best.val_accuracy or 0.0):
        return None
    observed = (
        f"the training loss is down to {last.loss:.3f} while the val loss has grown from {lowest:.3f} in epoch "
        f"{best.epoch} to {last.val_loss:.3f}, with {percent(last.val_accuracy)} right"
    )
    return Observation(
        observed, "add images, or change them at random with --augment trivial", run.again("method.augment=trivial")
    )


def never_learnt(run: CheckedRun) -> Observation | None:
    """The training loss at the end is not 2 % below that of the first epoch: the network has learnt next to nothing.

    Most often the rate is far too large or too small, or labels have come apart from their images.
    """
    losses = [epoch.loss for epoch in _trained(run) if epoch.loss is not None]
    training = run.training
    if training is None or len(losses) < FEWEST_EPOCHS or losses[-1] < HARDLY_LESS * losses[0]:
        return None
    observed = f"the training loss went from {losses[0]:.3f} in the first epoch to {losses[-1]:.3f} in the last"
    lr = run.facts.rates.lr if run.facts and run.facts.rates else training.lr
    return Observation(
        observed, "try another rate, and look at the labels", run.again(f"method.lr={lr / 3:.1g}") if lr else ""
    )


def _trained(run: CheckedRun) -> list[Epoch]:
    """The epochs after the start."""
    return [epoch for epoch in run.history if epoch.epoch > 0]
