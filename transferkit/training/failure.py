"""A step whose loss or gradient is not finite: what is kept of it, so that it can be made again."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from transferkit.models.description import describe
from transferkit.models.stored_model import StoredModel
from transferkit.recipe import BackboneSettings
from transferkit.runtime.context import Context
from transferkit.runtime.distributed import World
from transferkit.runtime.errors import MachineError
from transferkit.runtime.files import write_tensors
from transferkit.runtime.machine import Precision
from transferkit.runtime.plurals import counted
from transferkit.runtime.records import as_json
from transferkit.training.checkpoint import Training
from transferkit.training.resolved import ResolvedTraining

FAILED_STEP = "failed-step.safetensors"
REMEDIES = "Try a smaller --lr, a gradient limit with --clip-norm 1, or --precision fp32."


@dataclass(frozen=True)
class FailedStep:
    """A step that was not made, because its loss or gradient is not finite; parameters are as before it.

    Attributes:
        quantity: `loss` or `gradient`.
        value: NaN or an infinity.
        images: (B, 3, H, W) uint8, as augmented.
        labels: (B,).
        random: torch's random state before the step, by device: `cpu`, and `cuda` where it computed there.
    """

    quantity: str
    value: float
    images: Tensor
    labels: Tensor
    random: dict[str, Tensor]


class StepFailed(Exception):
    """Carries the failed step to where it is kept."""

    def __init__(self, step: FailedStep) -> None:
        super().__init__(f"the {step.quantity} became {step.value}")
        self.step = step


def whole(step: FailedStep, world: World) -> FailedStep:
    """The step with the images of all processes; it failed in all of them, by the same loss or gradient."""
    if len(step.images) == len(step.labels):
        return step
    images = world.joined(step.images.cpu().numpy())
    return replace(step, images=torch.from_numpy(images))


def too_large(settings: ResolvedTraining, num_images: int, size_px: int) -> str:
    """What to do where the memory does not hold a pass of a step: the same step in twice as many passes."""
    images, passes = min(settings.batch_size, num_images), settings.accumulate
    at_once = "" if passes == 1 else " at a time"
    smaller = f"--batch-size {images // 2} --accumulate {2 * passes}, which is the same step in more passes, or "
    advice = f"Use {smaller if images > 1 else ''}a smaller input"
    return (
        f"Out of memory in a training step of {counted(images, 'image')}{at_once} at {size_px} px. {advice}; "
        "the batch is part of the recipe, so it is not made smaller unasked."
    )


def read_later(value: Tensor) -> Callable[[], float]:
    """Begin to copy a number from the device, and give what waits for it.

    A GPU goes on with the work that was asked of it in between, so that nothing stands still for the copy.
    """
    if value.device.type != "cuda":
        return value.item
    host = torch.empty((), dtype=value.dtype, pin_memory=True)
    host.copy_(value, non_blocking=True)
    copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
    copied.record()

    def wait() -> float:
        copied.synchronize()
        return host.item()

    return wait


@dataclass(frozen=True)
class FailedStepFacts:
    """What failed-step.safetensors tells beside its tensors.

    Attributes:
        step: Counted from 1 over the whole training; likewise `epoch`.
        quantity: What was not finite: `loss` or `gradient`.
        value: What it was, as text, because JSON has no NaN.
        lr: Largest rate of the step.
        model: The network; of its backbone the name alone, because recipe.yaml beside it has the rest.
    """

    step: int
    epoch: int
    quantity: str
    value: str
    precision: Precision
    device: str
    lr: float
    frozen: tuple[str, ...]
    batchnorm_frozen: bool
    model: StoredModel


def keep(failed: FailedStep, training: Training, context: Context) -> MachineError:
    """Write the failed step into the job's folder, if it has one, and say what happened and what to do."""
    message = f"The {failed.quantity} became {failed.value} at step {training.step + 1}. {REMEDIES}"
    if context.folder is None:
        return MachineError(message)
    _write(context.folder / FAILED_STEP, failed, training, context)
    return MachineError(
        f"{message} Its batch, weights and random state are in {context.folder / FAILED_STEP}; "
        f"`transferkit replay {context.folder}` makes the step again and shows where it failed."
    )


def _write(path: Path, failed: FailedStep, training: Training, context: Context) -> None:
    classifier = training.classifier
    tensors = {f"model.{name}": value for name, value in classifier.state_dict().items()}
    tensors |= {f"batch.{name}": getattr(failed, name) for name in ("images", "labels")}
    tensors |= {"loss_weights": training.loss_weights} if training.loss_weights is not None else {}
    tensors |= {f"random.{device}": state for device, state in failed.random.items()}
    facts = FailedStepFacts(
        training.step + 1,
        training.epochs + 1,
        failed.quantity,
        str(failed.value),
        context.runtime.precision,
        context.runtime.device.type,
        lr=training.lr,
        frozen=tuple(classifier.frozen),
        batchnorm_frozen=classifier.batchnorm_frozen,
        model=describe(classifier, BackboneSettings(name=classifier.backbone, weights="none")),
    )
    write_tensors(path, tensors, as_json(facts))


def require_finite(loss: float, norm: Tensor, batch: tuple[Tensor, Tensor], random: dict[str, Tensor]) -> None:
    """Stop before the update where the loss is not finite, or the gradient, where it can be read without waiting.

    On a GPU the gradient's norm is not waited for: one that is not finite shows in the next step's loss.

    Raises:
        StepFailed: With the batch and the random state before the step.
    """
    values = {"loss": loss} if norm.device.type == "cuda" else {"loss": loss, "gradient": float(norm)}
    for quantity, value in values.items():
        if not math.isfinite(value):
            raise StepFailed(FailedStep(quantity, value, *batch, random))
