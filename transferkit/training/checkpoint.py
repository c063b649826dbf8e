"""What changes while a classifier trains: kept after an epoch, taken up again after a stop."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from transferkit.metrics.history import Epoch, History
from transferkit.models.classifier import Classifier
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.files import read_tensors, write_tensors
from transferkit.runtime.records import as_json, from_json

SECONDS_BETWEEN_SAVES = 10.0  # short epochs are not saved one by one: what is written would be most of their time
SECONDS_BETWEEN_SAVES_INSIDE = 300.0  # of an epoch


@dataclass(frozen=True)
class CheckpointFacts:
    """What a checkpoint holds beside tensors.

    Attributes:
        step: How many were taken.
        history: Every finished epoch.
        images, seconds: Of the steps since then.
    """

    step: int
    history: tuple[Epoch, ...]
    images: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class UnfinishedEpoch:
    """What is known of an epoch after some of its steps.

    Attributes:
        losses: Of each step, float64.
        norms: Of each step's gradient.
        images: How many it learnt from.
        seconds: Of these steps.
        random: torch's random state after them, by device.
    """

    losses: Tensor
    norms: Tensor
    images: int
    seconds: float
    random: dict[str, Tensor]


@dataclass
class Training:
    """What changes while a classifier trains, and what is saved after each epoch.

    Attributes:
        classifier: Trained in place.
        optimizer: Over the trained stages.
        peak_rates: Of each of the optimiser's groups.
        average: Weights and buffers that follow those in training, by name; None for none.
        unaveraged: Names of those that stay as they are in every step. Averages leave them alone: a weight of -0.0
            would become -0.0 + s (-0.0 - -0.0) = 0.0, other bits.
        loss_weights: (C,), what an image of each class counts in the loss; None where all count the same.
        anchor: The body's weights at the start, by name, where they are pulled back to them; else empty.
        history: All finished epochs, after the start as epoch 0.
        right_at_start: (N,) bool, which val images were right at the start; None where nobody looked.
        best: Weights and buffers of the epoch that was best on val so far, by name; None where no epoch is chosen.
        step: How many were taken.
        unfinished: What is known of an epoch that goes on from its middle.
        saved_at: On the clock of `time.perf_counter`.
    """

    classifier: Classifier
    optimizer: torch.optim.Optimizer
    peak_rates: list[float]
    average: dict[str, Tensor] | None
    anchor: dict[str, Tensor]
    history: History = field(default_factory=History)
    right_at_start: Tensor | None = None
    best: dict[str, Tensor] | None = None
    step: int = 0
    loss_weights: Tensor | None = None
    unaveraged: frozenset[str] = frozenset()
    unfinished: UnfinishedEpoch | None = None
    saved_at: float = -math.inf

    @property
    def epochs(self) -> int:
        """How many are finished."""
        return self.history.last.epoch if self.history.last else 0

    @property
    def steps_into_epoch(self) -> int:
        """How many steps of the next epoch are done."""
        return 0 if self.unfinished is None else len(self.unfinished.losses)

    @property
    def place_in_words(self) -> str:
        """How far it has come."""
        done = f"after epoch {self.epochs}"
        return f"{done} and {self.steps_into_epoch} steps of the next" if self.steps_into_epoch else done

    @property
    def lr(self) -> float:
        """The highest rate of the groups now, without the scale of each."""
        return max(float(group["lr"] / group["scale"]) for group in self.optimizer.param_groups)

    @property
    def seconds(self) -> float:
        """The time of the gradient steps of all finished epochs."""
        return self.history.seconds


def save_now_and_then(training: Training, path: Path | None, *, always: bool) -> None:
    """Save after an epoch, but not after every one where they are short."""
    if always or time.perf_counter() - training.saved_at >= SECONDS_BETWEEN_SAVES:
        save(training, path)
        training.saved_at = time.perf_counter()


def random_state(device: torch.device) -> dict[str, Tensor]:
    """What dropout and mixing draw from, on the CPU and on the device."""
    state = {"cpu": torch.get_rng_state()}
    return state | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def set_random_state(state: Mapping[str, Tensor], device: torch.device) -> None:
    """Draw from here on what was drawn after `random_state`."""
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)


def save(training: Training, path: Path | None) -> None:
    """Keep weights, average, optimiser state and log, so that a stopped run can go on from there."""
    if path is None:
        return
    tensors = {f"model.{name}": value for name, value in training.classifier.state_dict().items()}
    tensors |= {f"average.{name}": value for name, value in (training.average or {}).items()}
    tensors |= {f"best.{name}": value for name, value in (training.best or {}).items()}
    if training.right_at_start is not None:
        tensors["start.right"] = training.right_at_start
    for name, parameter in training.classifier.named_parameters():
        state = training.optimizer.state.get(parameter, {})
        tensors |= {f"optimizer.{name}.{key}": value for key, value in state.items() if value is not None}
    facts = CheckpointFacts(training.step, training.history.epochs)
    if (epoch := training.unfinished) is not None:
        tensors |= {"epoch.losses": epoch.losses, "epoch.norms": epoch.norms}
        tensors |= {f"random.{device}": state for device, state in epoch.random.items()}
        facts = replace(facts, images=epoch.images, seconds=epoch.seconds)
    write_tensors(path, tensors, as_json(facts))


def resume(training: Training, path: Path | None) -> None:
    """Go on from the checkpoint, if there is one.

    Raises:
        TransferkitError: If another version wrote it.
    """
    if path is None or not path.exists():
        return
    tensors, header = read_tensors(path)
    facts = from_json(header, CheckpointFacts, str(path))
    training.step, training.history = facts.step, History(facts.history)
    training.right_at_start = tensors.get("start.right")
    training.classifier.load_state_dict(_part(tensors, "model."))
    for name, value in _part(tensors, "average.").items():
        assert training.average is not None
        training.average[name].copy_(value)
    training.best = _part(tensors, "best.") or None
    if "epoch.losses" in tensors:
        random = _part(tensors, "random.")
        losses, norms = tensors["epoch.losses"], tensors["epoch.norms"]
        training.unfinished = UnfinishedEpoch(losses, norms, facts.images, facts.seconds, random)
    _restore_optimizer(training, _part(tensors, "optimizer."), path)


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Those whose name begins so, without the beginning."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def trained_parameters(optimizer: torch.optim.Optimizer) -> list[torch.nn.Parameter]:
    """All that it changes, in the order of its state."""
    return [value for group in optimizer.param_groups for value in group["params"]]


def _restore_optimizer(training: Training, tensors: dict[str, Tensor], path: Path) -> None:
    """Put back momentum and the like, each in its parameter's memory layout, which fused steps rely on."""
    parameters = dict(training.classifier.named_parameters())
    for entry, tensor in tensors.items():
        name, _, key = entry.rpartition(".")
        if name not in parameters:
            raise TransferkitError(f"{path} is of an earlier version. Start the run anew: --overwrite.")
        parameter = parameters[name]
        like = torch.empty_like(parameter) if tensor.shape == parameter.shape else torch.empty_like(tensor)
        training.optimizer.state[parameter][key] = like.copy_(tensor)
