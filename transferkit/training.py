"""The one training loop: parameter groups, schedule, moving average, and epochs that can be resumed."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transferkit import averages, rates
from transferkit import budget as budgets
from transferkit.batches import Augmentation, TrainingBatches, in_order
from transferkit.checkpoint import read_tensors, write_tensors
from transferkit.classifier import Classifier, as_unit_range
from transferkit.errors import MachineError, TransferkitError
from transferkit.images import Images
from transferkit.job import Job
from transferkit.logit_checks import check_start
from transferkit.rates import rate_share
from transferkit.recipe import FinetuneSettings, ScratchSettings
from transferkit.runtime import Runtime, seed_everything
from transferkit.screen import Progress

STEPS_BETWEEN_LOOKS = 25  # the loss is read from the device only this often
SECONDS_BETWEEN_SAVES = 10.0  # short epochs are not saved one by one: what is written would be most of their time
UNKNOWN_STEPS = 1_000_000  # of a training by the clock, before its first step
CHECKPOINT = "checkpoint.safetensors"
SHIFT, MOMENTUM = 0.125, 0.9  # where the settings leave them open


@dataclass(frozen=True)
class ParameterGroup:
    """One stage in the optimiser's eyes; a frozen stage is listed too, with rate 0.

    Attributes:
        stage: Name of the stage.
        parameters: How many numbers it holds.
        lr: Peak rate; 0 where frozen.
        weight_decay: Of its weights; norms and biases have none.
        batchnorm: `train`, `eval`, or `-` where the stage has none.
        wakes_at: Epoch from which it is trained (gradual unfreezing); 0 from the start.
        sleeps_at: Epoch from which it is frozen; None for never.
        is_solved: Whether it is found by convex optimisation, without rate or steps.
    """

    stage: str
    parameters: int
    lr: float
    weight_decay: float
    batchnorm: str
    wakes_at: int = 0
    is_solved: bool = False
    sleeps_at: int | None = None

    @property
    def is_trained(self) -> bool:
        """Whether the fit changes it."""
        return self.lr > 0 or self.is_solved

    @property
    def state(self) -> str:
        """In a word: frozen, trained, solved, or from which epoch it is trained."""
        if self.is_solved:
            return "solved"
        if not self.is_trained:
            return "frozen"
        if self.sleeps_at is not None:
            return f"to epoch {self.sleeps_at}"
        return f"from epoch {self.wakes_at + 1}" if self.wakes_at else "trained"

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        decay = self.weight_decay if self.lr else None
        rate = self.lr or None
        counted = {"stage": self.stage, "parameters": self.parameters, "trainable": self.is_trained}
        awake = {"wakes_at": self.wakes_at, "sleeps_at": self.sleeps_at}
        return {**counted, "lr": rate, "weight_decay": decay, "batchnorm": self.batchnorm, **awake}


@dataclass
class Training:
    """What changes while a classifier trains, and what is saved after each epoch."""

    classifier: Classifier
    optimizer: torch.optim.Optimizer
    peak_rates: list[float]
    average: dict[str, Tensor] | None
    history: list[dict[str, Any]] = field(default_factory=list)
    step: int = 0
    saved_at: float = -math.inf

    @property
    def seconds(self) -> float:
        """The time of the gradient steps of all finished epochs."""
        return float(sum(epoch["seconds"] for epoch in self.history))


@dataclass(frozen=True)
class Pace:
    """When a training ends; the schedule follows it.

    Attributes:
        steps: After so many steps; None where the clock decides.
        seconds: After so many seconds of steps, validation and saving not counted; None where steps decide.
    """

    steps: int | None
    seconds: float | None = None

    @classmethod
    def of(cls, settings: FinetuneSettings | ScratchSettings, steps_per_epoch: int) -> Pace:
        """As the settings say: by their budget where they have one, else by their epochs."""
        if settings.budget is None:
            assert settings.epochs is not None
            return cls(settings.epochs * steps_per_epoch)
        budget = budgets.read(settings.budget)
        return cls(None, budget.amount) if budget.kind == "seconds" else cls(int(budget.amount))

    def total_steps(self, step: int, seconds: float) -> int:
        """Steps of the whole training, as far as known after `step` of them in `seconds`; `step` itself at the end.

        Example:
            >>> Pace(steps=None, seconds=60.0).total_steps(step=100, seconds=15.0)
            400
        """
        if self.seconds is None:
            assert self.steps is not None
            return self.steps
        if not step or seconds <= 0:
            return UNKNOWN_STEPS
        return step if seconds >= self.seconds else max(step + 1, round(step * self.seconds / seconds))

    def is_over(self, step: int, seconds: float) -> bool:
        """Whether nothing is left; a training takes at least one step."""
        return step >= self.total_steps(step, seconds)

    def words(self, epoch: int, steps_per_epoch: int, seconds: float) -> str:
        """Where a training stands at the beginning of an epoch."""
        if self.steps is not None:
            return f"epoch {epoch + 1}/{math.ceil(self.steps / steps_per_epoch)}"
        return f"epoch {epoch + 1}, {seconds:.0f} of {self.seconds:.0f} s"


def train(
    classifier: Classifier,
    images: Images,
    val: Images,
    settings: FinetuneSettings | ScratchSettings,
    groups: Sequence[ParameterGroup],
    job: Job,
) -> list[dict[str, Any]]:
    """Change the classifier by gradient steps and return one record per epoch.

    The weights of the last step, or their moving average, are the result; no epoch is chosen. With a folder, the
    state after an epoch is kept there, and an unfinished training found there goes on where it stopped.

    Raises:
        MachineError: If the loss is not finite; says at which step and what to try.
        TransferkitError: If the network gives something else than logits.
    """
    assert settings.batch_size is not None
    runtime, screen = job.runtime, job.screen
    shift = SHIFT if settings.shift is None else settings.shift
    augmentation = Augmentation(shift, bool(settings.flip), bool(settings.alternating_flip))
    classifier.averages_mirror, classifier.averages_shifts = bool(settings.test_flip), bool(settings.test_shifts)
    batches = TrainingBatches(images, min(settings.batch_size, len(images)), runtime.device, augmentation, job.seed)
    pace = Pace.of(settings, batches.steps_per_epoch)
    training = _started(classifier, settings, groups, runtime)
    _resume(training, job.folder)
    has_random_head = training.step == 0 and getattr(settings, "head", "random") == "random"
    check_start(classifier, images, runtime.device, screen, has_random_head=has_random_head)
    anchor = {name: value.detach().clone() for name, value in classifier.body.named_parameters()}
    with screen.progress("training", ((pace.steps or 0) - training.step) * batches.batch_size) as progress:
        while not pace.is_over(training.step, training.seconds):
            epoch = len(training.history)
            seed_everything(job.seed * 7919 + epoch)  # dropout and mixing repeat after a resume
            _wake(classifier, groups, epoch)
            progress.title = pace.words(epoch, batches.steps_per_epoch, training.seconds)
            record = _epoch(training, batches.epoch(epoch), settings, pace, anchor, runtime, progress)
            record["val_accuracy"] = _val_accuracy(training, val, runtime)
            training.history.append({"epoch": epoch + 1, "step": training.step, **record})
            is_over = pace.is_over(training.step, training.seconds)
            _save_now_and_then(training, job.folder, always=is_over)
            progress.tell(f"{progress.title}: {_words(record)}", always=is_over)
        progress.title, progress.words = "training", ""
    if training.average is not None:
        classifier.load_state_dict(training.average)
    classifier.eval()
    return training.history


def parameter_groups(classifier: Classifier, settings: FinetuneSettings | ScratchSettings) -> list[ParameterGroup]:
    """One group per stage in the order of the forward pass, with the rates the settings give it.

    The rate is proportional to the batch (Goyal et al. 2017), and falls by `layer_decay` per stage below the head.
    """
    assert settings.lr is not None
    assert settings.batch_size is not None
    assert settings.weight_decay is not None
    scale = settings.batch_size / rates.RATE_IMAGES
    lr, weight_decay = settings.lr, settings.weight_decay
    if settings.decoupled:
        lr, weight_decay = rates.coupled(lr, weight_decay, momentum(settings))
    head_rate = settings.head_lr if isinstance(settings, FinetuneSettings) and settings.head_lr else lr
    sleeps = settings.freeze_after or {}
    for stage in sleeps:
        classifier.require_stage(stage)
    decay = (settings.layer_decay or 1.0) if isinstance(settings, FinetuneSettings) else 1.0
    names = [*classifier.stages, "head"]
    gradual = isinstance(settings, FinetuneSettings) and settings.gradual_unfreezing
    groups = []
    for depth, name in enumerate(reversed(names)):
        rate = scale * (head_rate if name == "head" else lr * decay ** (depth - 1))
        rate = 0.0 if name in classifier.frozen else rate
        count = sum(value.numel() for value in classifier.stage_parameters(name).values())
        state = _batchnorm_state(classifier, name)
        awake: dict[str, Any] = {"wakes_at": depth if gradual else 0, "sleeps_at": sleeps.get(name)}
        groups.append(ParameterGroup(name, count, rate, weight_decay, state, **awake))
    return groups[::-1]


def momentum(settings: FinetuneSettings | ScratchSettings) -> float:
    """Nesterov's, of SGD."""
    return MOMENTUM if settings.momentum is None else settings.momentum


def _batchnorm_state(classifier: Classifier, stage: str) -> str:
    roots = [module for _, module in classifier.stage_modules(stage)]
    if not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for root in roots for module in root.modules()):
        return "-"
    return "eval" if stage in classifier.frozen or classifier.batchnorm_frozen else "train"


def _started(
    classifier: Classifier,
    settings: FinetuneSettings | ScratchSettings,
    groups: Sequence[ParameterGroup],
    runtime: Runtime,
) -> Training:
    classifier.to(runtime.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    trained = [group for group in groups if group.is_trained]
    scale = settings.norm_bias_lr or 1.0
    options = [option for group in trained for option in _optimizer_groups(classifier, group, scale)]
    optimizer = _optimizer(options, settings, runtime)
    is_averaged = settings.ema or settings.lookahead
    average = {name: value.clone() for name, value in classifier.state_dict().items()} if is_averaged else None
    return Training(classifier, optimizer, [option["lr"] for option in options], average)


def _optimizer_groups(
    classifier: Classifier, group: ParameterGroup, norm_bias_scale: float = 1.0
) -> Iterator[dict[str, Any]]:
    """The stage's weights with decay, its norms and biases (everything of one dimension) without.

    Biases of BatchNorm have `norm_bias_scale` times the rate (Page 2019; Jordan 2024, section 3.4: 64 times).
    """
    parameters = classifier.stage_parameters(group.stage)
    fast = norm_biases(classifier) if norm_bias_scale != 1 else set()
    for chosen, scale, decay in (
        ([value for value in parameters.values() if value.ndim > 1], 1.0, group.weight_decay),
        ([value for name, value in parameters.items() if value.ndim <= 1 and name not in fast], 1.0, 0.0),
        ([value for name, value in parameters.items() if name in fast], norm_bias_scale, 0.0),
    ):
        if chosen:
            yield {"params": chosen, "lr": scale * group.lr, "weight_decay": decay, "scale": scale}


def norm_biases(classifier: Classifier) -> set[str]:
    """Names of the biases of all BatchNorm layers."""
    modules = classifier.named_modules()
    return {f"{name}.bias" for name, module in modules if isinstance(module, nn.modules.batchnorm._BatchNorm)}


def _optimizer(
    options: list[dict[str, Any]], settings: FinetuneSettings | ScratchSettings, runtime: Runtime
) -> torch.optim.Optimizer:
    if not options:
        raise TransferkitError("Every stage is frozen, so nothing would be trained. Choose an earlier --freeze-to.")
    fused = runtime.device.type in ("cpu", "cuda")
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(options, fused=fused)
    inertia = momentum(settings)
    return torch.optim.SGD(options, lr=0.1, momentum=inertia, nesterov=inertia > 0, fused=fused)


def _wake(classifier: Classifier, groups: Sequence[ParameterGroup], epoch: int) -> None:
    """Gradual unfreezing (Howard and Ruder 2018): stages that wake later are frozen until then; others go to sleep."""
    if any(group.wakes_at or group.sleeps_at for group in groups):
        over = {group.stage for group in groups if group.sleeps_at is not None and epoch >= group.sleeps_at}
        asleep = [group.stage for group in groups if group.wakes_at > epoch or not group.is_trained]
        asleep += [stage for stage in over if stage not in asleep]
        classifier.freeze(asleep)


def _epoch(
    training: Training,
    batches: Iterator[tuple[Tensor, Tensor]],
    settings: FinetuneSettings | ScratchSettings,
    pace: Pace,
    anchor: dict[str, Tensor],
    runtime: Runtime,
    progress: Progress,
) -> dict[str, Any]:
    """One pass of steps, or what the pace leaves of it; returns mean loss, rate, gradient norm and throughput."""
    training.classifier.train()
    losses: list[Tensor] = []
    norms: list[Tensor] = []  # read from the device once, at the epoch's end
    earlier, started = training.seconds, time.perf_counter()
    seen = reported = batch_size = 0
    for images, labels in batches:
        batch_size = len(images)
        total_steps = pace.total_steps(training.step, earlier + time.perf_counter() - started)
        share = rate_share(training.step, total_steps, settings.warmup or 0.0, settings.schedule or "cosine")
        _set_rates(training, share)
        losses.append(_loss(training.classifier, images, labels, settings, runtime).detach())
        _pull_to_start(training.classifier, anchor, settings)
        norms.append(_clip(training, settings.clip_norm or math.inf))
        training.optimizer.step()
        training.optimizer.zero_grad(set_to_none=True)
        training.step += 1
        if training.average is not None:
            update = averages.look_ahead if settings.lookahead else averages.follow
            update(training.average, training.classifier.state_dict(), training.step, total_steps)
        seen += batch_size
        if len(losses) % STEPS_BETWEEN_LOOKS == 0:
            words = f"step {training.step:,}/{total_steps:,}, loss {_finite(losses, training.step)[-1]:.3f}"
            progress.total = progress.done + seen - reported + (total_steps - training.step) * batch_size
            progress.advance(seen - reported, words)
            reported = seen
        if pace.is_over(training.step, earlier + time.perf_counter() - started):
            break
    values = _finite(losses, training.step)
    seconds = time.perf_counter() - started
    left = pace.total_steps(training.step, earlier + seconds) - training.step
    progress.total = progress.done + seen - reported + left * batch_size
    progress.advance(seen - reported)
    return {
        "loss": sum(values) / len(values),
        "lr": max(group["lr"] / group["scale"] for group in training.optimizer.param_groups),
        "gradient_norm": float(torch.stack(norms).mean()),
        "images_per_second": seen / seconds,
        "seconds": seconds,
    }


def _loss(
    classifier: Classifier,
    images: Tensor,
    labels: Tensor,
    settings: FinetuneSettings | ScratchSettings,
    runtime: Runtime,
) -> Tensor:
    """Cross-entropy of the logits in fp32, with its gradient already propagated."""
    mixed, other, share = _mixed(as_unit_range(images), labels, settings)
    with runtime.autocast():
        logits = classifier(mixed)
    smoothing = settings.label_smoothing or 0.0
    loss = share * F.cross_entropy(logits.float(), labels, label_smoothing=smoothing)
    if share < 1:
        loss = loss + (1 - share) * F.cross_entropy(logits.float(), other, label_smoothing=smoothing)
    loss.backward()  # type: ignore[no-untyped-call]
    return loss


def _mixed(
    images: Tensor, labels: Tensor, settings: FinetuneSettings | ScratchSettings
) -> tuple[Tensor, Tensor, float]:
    """Images mixed with others of the batch, the others' labels, and the share of the first.

    mixup: Zhang et al. 2018 (arXiv:1710.09412). CutMix: Yun et al. 2019 (arXiv:1905.04899). With both, a coin decides.
    """
    mixup, cutmix = settings.mixup or 0.0, settings.cutmix
    if not mixup and not cutmix:
        return images, labels, 1.0
    use_cutmix = cutmix > 0 and (mixup == 0 or torch.rand(()) < 0.5)
    alpha = cutmix if use_cutmix else mixup
    share = float(torch.distributions.Beta(alpha, alpha).sample())
    order = torch.randperm(len(images)).to(images.device)
    if not use_cutmix:
        return share * images + (1 - share) * images[order], labels[order], share
    return cut_and_pasted(images, images[order], share), labels[order], pasted_share(images, share)


def cut_and_pasted(images: Tensor, others: Tensor, share: float) -> Tensor:
    """Images (B, 3, H, W) with a box of the others pasted at one random place; the box keeps 1 - share of the area."""
    height, width = _box(images, share)
    top = int(torch.randint(0, images.shape[2] - height + 1, ()))
    left = int(torch.randint(0, images.shape[3] - width + 1, ()))
    pasted = images.clone()
    pasted[:, :, top : top + height, left : left + width] = others[:, :, top : top + height, left : left + width]
    return pasted


def pasted_share(images: Tensor, share: float) -> float:
    """The share that really remains of the first image, once the box has whole pixels."""
    height, width = _box(images, share)
    return 1 - height * width / (images.shape[2] * images.shape[3])


def _box(images: Tensor, share: float) -> tuple[int, int]:
    side = math.sqrt(1 - share)
    return round(images.shape[2] * side), round(images.shape[3] * side)


def _pull_to_start(
    classifier: Classifier, anchor: dict[str, Tensor], settings: FinetuneSettings | ScratchSettings
) -> None:
    """L2-SP (Li et al. 2018, eq. 2): the gradient of alpha/2 |w - w_start|^2, for the backbone alone."""
    if not isinstance(settings, FinetuneSettings) or not settings.l2_sp:
        return
    for name, value in classifier.body.named_parameters():
        if value.grad is not None:
            value.grad.add_(value.detach() - anchor[name], alpha=settings.l2_sp)


def _clip(training: Training, largest: float) -> Tensor:
    """The gradient's norm, before it is cut to at most `largest`."""
    parameters = [value for group in training.optimizer.param_groups for value in group["params"]]
    return nn.utils.clip_grad_norm_(parameters, largest)


def _set_rates(training: Training, share: float) -> None:
    for group, peak in zip(training.optimizer.param_groups, training.peak_rates, strict=True):
        group["lr"] = peak * share


def _finite(losses: list[Tensor], step: int) -> list[float]:
    values: list[float] = torch.stack(losses).float().cpu().tolist()
    for index, value in enumerate(values):
        if not math.isfinite(value):
            raise MachineError(
                f"The loss became {value} at step {step - len(values) + index + 1}. Try a smaller --lr, "
                "a gradient limit with --clip-norm 1, or --precision fp32."
            )
    return values


@torch.inference_mode()
def _val_accuracy(training: Training, val: Images, runtime: Runtime) -> float | None:
    """Accuracy on val of the weights that would be the result now: the average where there is one.

    Seen once each: what is averaged over several views of an image at the end would cost more than it tells here.
    """
    if not len(val):
        return None
    classifier = training.classifier.eval()
    mirror, shifts = classifier.averages_mirror, classifier.averages_shifts
    classifier.averages_mirror = classifier.averages_shifts = False
    current = {name: value.clone() for name, value in classifier.state_dict().items()}
    if training.average is not None:
        classifier.load_state_dict(training.average)
    predictions = []
    for batch in in_order(val, 256, runtime.device):
        with runtime.autocast():
            predictions.append(classifier(batch).argmax(1).cpu())
    classifier.load_state_dict(current)
    classifier.averages_mirror, classifier.averages_shifts = mirror, shifts
    return float((torch.cat(predictions) == torch.from_numpy(val.labels)).float().mean())


def _words(record: dict[str, Any]) -> str:
    val = record["val_accuracy"]
    accuracy = f", val {100 * val:.1f} %" if val is not None else ""
    return f"loss {record['loss']:.3f}{accuracy}, {record['images_per_second']:,.0f} img/s"


def _save_now_and_then(training: Training, folder: Path | None, *, always: bool) -> None:
    """Save after an epoch, but not after every one where they are short."""
    if always or time.perf_counter() - training.saved_at >= SECONDS_BETWEEN_SAVES:
        _save(training, folder)
        training.saved_at = time.perf_counter()


def _save(training: Training, folder: Path | None) -> None:
    """Keep weights, average, optimiser state and log, so that a stopped run can go on from there."""
    if folder is None:
        return
    tensors = {f"model.{name}": value for name, value in training.classifier.state_dict().items()}
    tensors |= {f"average.{name}": value for name, value in (training.average or {}).items()}
    for index, state in training.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items() if value is not None}
    facts = {"step": training.step, "history": training.history}
    write_tensors(folder / CHECKPOINT, tensors, facts)


def _resume(training: Training, folder: Path | None) -> None:
    """Go on from the checkpoint in the folder, if there is one."""
    if folder is None or not (folder / CHECKPOINT).exists():
        return
    tensors, facts = read_tensors(folder / CHECKPOINT)
    training.step, training.history = facts["step"], facts["history"]
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "average": {}, "optimizer": {}}
    for name, value in tensors.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = value
    training.classifier.load_state_dict(parts["model"])
    for name, value in parts["average"].items():
        assert training.average is not None
        training.average[name].copy_(value)
    _restore_optimizer(training.optimizer, parts["optimizer"])


def _restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back momentum and the like, each in its parameter's memory layout, which fused steps rely on."""
    parameters = [value for group in optimizer.param_groups for value in group["params"]]
    for name, tensor in tensors.items():
        index, _, key = name.partition(".")
        parameter = parameters[int(index)]
        like = torch.empty_like(parameter) if tensor.shape == parameter.shape else torch.empty_like(tensor)
        optimizer.state[parameter][key] = like.copy_(tensor)
