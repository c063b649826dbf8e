"""A step that stopped a training because it was not finite, made again to see where it failed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import PlainSerializer
from torch import Tensor

from transferkit.features.hooks import hooked
from transferkit.models.classifier import Classifier
from transferkit.runs.run_directory import Run
from transferkit.runs.stored_classifier import rebuild_classifier
from transferkit.runtime import machine
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.files import read_tensors
from transferkit.runtime.plurals import counted
from transferkit.runtime.records import from_json
from transferkit.training.checkpoint import set_random_state
from transferkit.training.failure import FAILED_STEP, FailedStepFacts
from transferkit.training.memory_layout import laid_out
from transferkit.training.resolved import Mixing, steps_of
from transferkit.training.step_loss import StepLoss

PRECISIONS: tuple[machine.Precision, ...] = ("fp32", "bf16")


def _finite_or_text(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


Shown = Annotated[float, PlainSerializer(_finite_or_text)]  # in JSON, numbers that are not finite are text


@dataclass(frozen=True)
class Pass:
    """The failed step's forward and backward pass in one precision.

    Attributes:
        precision: fp32 or bf16.
        loss: Of the batch.
        gradient_norm: Over all trained parameters, before any limit.
        first: The first module whose output is not finite, in the order of the forward pass; empty if none.
        stages: Of each stage that has modules: its largest output, and its largest weight before the step.
    """

    precision: str
    loss: Shown
    gradient_norm: Shown
    first: str
    stages: dict[str, tuple[Shown, Shown]]


@dataclass(frozen=True)
class Replay:
    """A failed step as it was, and made again.

    Attributes:
        step: Counted from 1 over the whole training.
        epoch: Counted from 1.
        quantity: What was not finite: `loss` or `gradient`.
        value: What it was.
        precision: In which it was computed.
        lr: Largest rate of the step.
        images: In its batch.
        passes: By precision, that of the training first.
    """

    step: int
    epoch: int
    quantity: str
    value: Annotated[float, PlainSerializer(str)]
    precision: str
    lr: float
    images: int
    passes: tuple[Pass, ...]

    @property
    def comes_out_again(self) -> bool:
        """Whether the same thing is not finite in the precision of the training."""
        again = self.passes[0]
        return not math.isfinite(again.loss if self.quantity == "loss" else again.gradient_norm)


def replay(folder: Path | str, device: str = "auto") -> Replay:
    """Make the failed step of an unfinished run again, in its own precision first and then in the other one.

    Args:
        folder: The run's.
        device: auto, cpu, cuda, cuda:1 or mps; where the training ran on another one, sums differ in the last digits.

    Raises:
        TransferkitError: If no failed step is kept there.
    """
    run = Run(Path(folder))
    path = run.path / FAILED_STEP
    if not path.exists():
        raise TransferkitError(
            f"{run.path} holds no failed step ({FAILED_STEP}). A run of finetune or scratch leaves one there when a "
            "loss or gradient is not finite."
        )
    tensors, metadata = read_tensors(path)
    facts = from_json(metadata, FailedStepFacts, str(path))
    runtime = machine.start(device, facts.precision, run.recipe.threads)
    order = sorted(PRECISIONS, key=lambda precision: precision != facts.precision)
    passes = [_pass(run, tensors, facts, replace(runtime, precision=precision)) for precision in order]
    return Replay(
        facts.step,
        facts.epoch,
        facts.quantity,
        float(facts.value),
        facts.precision,
        facts.lr,
        images=len(tensors["batch.labels"]),
        passes=tuple(passes),
    )


def _pass(run: Run, tensors: Mapping[str, Tensor], facts: FailedStepFacts, runtime: machine.Runtime) -> Pass:
    classifier = laid_out(_classifier(run, tensors, facts), runtime)
    weights = {name: _largest(value) for name, value in classifier.named_parameters()}
    images, labels = (tensors[f"batch.{name}"].to(runtime.device) for name in ("images", "labels"))
    random = {name.removeprefix("random."): value for name, value in tensors.items() if name.startswith("random.")}
    class_weights = tensors["loss_weights"].to(runtime.device) if "loss_weights" in tensors else None
    step_loss = StepLoss(Mixing.of(steps_of(run.recipe.method)), _batch_size(run, len(labels)), runtime, class_weights)
    outputs: dict[str, float] = {}

    def keep(name: str, output: Any) -> None:
        if isinstance(output, Tensor):
            outputs[name] = max(outputs.get(name, 0.0), _largest(output), key=_order)

    innermost = [name for name, module in classifier.named_modules() if not any(module.children())]
    devices = [runtime.device] if runtime.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), hooked(classifier, innermost, keep):
        set_random_state(random, runtime.device)
        read_loss = step_loss.backward(classifier, images, labels)
    gradients = [value.grad for value in classifier.parameters() if value.grad is not None]
    first = next((name for name, largest in outputs.items() if not math.isfinite(largest)), "")
    norm = float(torch.nn.utils.get_total_norm(gradients))
    return Pass(runtime.precision, read_loss(), norm, first, _by_stage(classifier, outputs, weights))


def _batch_size(run: Run, num_images: int) -> int:
    """Images of one pass of a step."""
    training = run.recipe.method.training
    return (training.batch_size if training else None) or num_images


def _classifier(run: Run, tensors: Mapping[str, Tensor], facts: FailedStepFacts) -> Classifier:
    """With the weights before the step, in train mode, with the stages frozen that were."""
    model = replace(facts.model, backbone=run.recipe.backbone)
    own = {name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")}
    classifier = rebuild_classifier(model, own, run.path.resolve().name)
    classifier.batchnorm_frozen = facts.batchnorm_frozen
    classifier.freeze(facts.frozen)
    return classifier.train()


def _order(value: float) -> float:
    return math.inf if math.isnan(value) else value


def _largest(values: Tensor) -> float:
    """The largest magnitude; NaN or infinite where a value is."""
    return float(values.detach().float().abs().max()) if values.numel() else 0.0


def _by_stage(
    classifier: Classifier, outputs: Mapping[str, float], weights: Mapping[str, float]
) -> dict[str, tuple[float, float]]:
    def largest(stage: str, values: Mapping[str, float]) -> float:
        return max(
            (value for name, value in values.items() if _stage(classifier, name) == stage), key=_order, default=0.0
        )

    return {stage: (largest(stage, outputs), largest(stage, weights)) for stage in (*classifier.stages, "head")}


def _stage(classifier: Classifier, name: str) -> str:
    """The stage of a module or parameter; empty for a module that no stage lists, which holds no parameters."""
    with suppress(TransferkitError):
        return classifier.stage_of(name)
    return ""


def in_words(made: Replay) -> list[str]:
    """What happened, whether it came out again, and where it began."""
    again, other = made.passes
    lines = [
        f"Step {made.step:,} (epoch {made.epoch}, {counted(made.images, 'image')}, rate {made.lr:.2g}, "
        f"{made.precision}): the "
        f"{made.quantity} was {made.value}."
    ]
    lines.append(
        f"Made again in {again.precision}: loss {again.loss:.4g}, gradient norm {again.gradient_norm:.4g}. "
        f"In {other.precision}: loss {other.loss:.4g}, gradient norm {other.gradient_norm:.4g}."
    )
    bad = [stage for stage, (_, weight) in again.stages.items() if not math.isfinite(weight)]
    if bad:
        lines.append(f"Weights were not finite before the step: {', '.join(bad)}. The step before it made them so.")
    elif again.first:
        lines.append(f"All weights were finite before it; the first output that is not is that of {again.first}.")
    elif not made.comes_out_again:
        lines.append("It did not fail this time: another device or version rounds otherwise.")
    elif made.quantity == "gradient":
        lines.append("All outputs are finite; it is the gradient that is not.")
    return lines
