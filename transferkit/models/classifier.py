"""A body and a head that take images of any size, prepare them inside `forward` and return logits."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from transferkit.models.bands import adapt_stem, bands_of
from transferkit.models.preparation import as_unit_range, resize
from transferkit.models.stored_model import RANDOM_WEIGHTS, InputSpec, WeightsRecord
from transferkit.models.test_time_augmentation import NO_AVERAGING, Averaging
from transferkit.runtime.errors import MachineError, TransferkitError, did_you_mean


class Classifier(nn.Module):
    """Images (N, 3, H, W), or of other bands, of any size, uint8 or float in [0, 1], to logits (N, C).

    Attributes:
        body: Prepared images (N, 3, size, size) to features (N, D).
        head: Features (N, D) to logits (N, C).
        stages: Stage names in the order of the forward pass, each with the name prefixes of its modules in `body`.
        class_names: C strings; they travel with the model.
        input_spec: How images are prepared.
        weights: Where the body's weights came from.
        backbone: What listings call the network: the name it was loaded by; empty where it was made otherwise.
        frozen: Names of the stages that stay as they are, BatchNorm statistics included, through every `.train()`.
        adapted: The body's tensors that are trained where an adapter leaves all others as they are, frozen stages
            aside; None where everything is trained.
        training_px: In train mode, the side that images are resized to where it is not that of `input_spec`.
        channels_first: Whether in train mode prepared images lie in memory with channels first; else they come last.
        averages_mirror: Whether in eval mode features are the mean of those of the image and of its mirror image; the
            head is linear, so the logits are the means of the logits.
        layer_numbers: Of the body's parameters, counted from the images, where a body has finer steps than its stages
            for rates that fall with depth; empty where each stage is one step.
        undecayed: The body's parameters that weight decay spares besides norms and biases (position embeddings ...).
        last_stages: How many of its last stages the features come from, see `pooled_stages`.
        averages_shifts: Whether they are averaged over small shifts of the image too (see `augmented_copies`).
    """

    def __init__(
        self,
        body: nn.Module,
        num_features: int,
        class_names: Sequence[str],
        stages: Mapping[str, Sequence[str]],
        input_spec: InputSpec,
        weights: WeightsRecord = RANDOM_WEIGHTS,
    ) -> None:
        super().__init__()
        self.body = body
        self.num_features = num_features
        self.head: nn.Module = nn.Linear(num_features, len(class_names))
        self.class_names = tuple(class_names)
        self.stages = {name: tuple(prefixes) for name, prefixes in stages.items()}
        self.input_spec = input_spec
        self.weights = weights
        self.backbone = ""
        self.frozen: tuple[str, ...] = ()
        self.adapted: frozenset[str] | None = None
        self.layer_numbers: Mapping[str, int] = {}
        self.undecayed: frozenset[str] = frozenset()
        self.batchnorm_frozen = False
        self.training_px: int | None = None
        self.last_stages = 1
        self.channels_first = False
        self.averages_mirror = self.averages_shifts = False
        self.register_buffer("mean", torch.tensor(input_spec.mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(input_spec.std).view(1, -1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, C); apply softmax yourself where you need probabilities."""
        return self.logits(self.features(images))

    def logits(self, features: Tensor) -> Tensor:
        """Logits (N, C) of the head's input, in fp32 always: in bf16 they would keep no three digits."""
        with in_fp32(features.device.type):
            logits: Tensor = self.head(features.float())
        return logits

    def features(self, images: Tensor) -> Tensor:
        """The head's input, (N, D)."""
        prepared = self.prepare(images)
        if self.training or self.averaging == NO_AVERAGING:
            features: Tensor = self.body(prepared)
            return features
        copies = self.averaging.copies(prepared)  # itself last: hooks keep the last they see
        return torch.stack([weight * self.body(copy) for weight, copy in copies]).sum(0)

    def adapt_to_bands(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Change this classifier to images of as many bands as these numbers, of pixels in [0, 1], have entries.

        Raises:
            TransferkitError: If the body has no stem that could be adapted.
        """
        adapt_stem(self.body, len(mean), pretrained=self.weights != RANDOM_WEIGHTS)
        self.input_spec = replace(self.input_spec, mean=tuple(mean), std=tuple(std))
        for name, values in (("mean", mean), ("std", std)):
            setattr(self, name, torch.tensor(tuple(values), device=self.get_buffer(name).device).view(1, -1, 1, 1))

    @property
    def averaging(self) -> Averaging:
        """What features are averaged over in eval mode besides the image itself."""
        return Averaging(self.averages_mirror, self.averages_shifts)

    def prepare(self, images: Tensor) -> Tensor:
        """Resized and normalised images (N, 3, size, size); in train mode of `training_px` where that is set."""
        spec = self.input_spec
        side = (self.training_px if self.training else None) or spec.size
        resized = resize(as_unit_range(images, len(spec.mean)), side, spec.interpolation, spec.crop)
        prepared = (resized - self.get_buffer("mean")) / self.get_buffer("std")
        is_first = self.training and self.channels_first
        return prepared.contiguous(memory_format=torch.contiguous_format if is_first else torch.channels_last)

    def train(self, mode: bool = True) -> Classifier:
        """Train mode for what is trained; frozen stages (and frozen BatchNorm) stay in eval mode."""
        super().train(mode)
        for name in self.frozen:
            for _, module in self.stage_modules(name):
                module.eval()
        if self.batchnorm_frozen:
            for module in self.body.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def stage_of(self, name: str) -> str:
        """The stage of a parameter, buffer or module of this classifier, by its full name."""
        if name == "head" or name.startswith("head."):
            return "head"
        inner = name.removeprefix("body.")
        for stage, prefixes in self.stages.items():
            if any(inner == prefix or inner.startswith(prefix + ".") for prefix in prefixes):
                return stage
        raise TransferkitError(f"No stage of this backbone holds {name!r}; its stages are {', '.join(self.stages)}.")

    def stage_modules(self, stage: str) -> Iterator[tuple[str, nn.Module]]:
        """Names and modules at the roots of one stage; `head` is the last stage."""
        for prefix in ("head",) if stage == "head" else tuple(f"body.{name}" for name in self.stages[stage]):
            module = self.get_parameter_or_module(prefix)
            if isinstance(module, nn.Module):
                yield prefix, module

    def get_parameter_or_module(self, name: str) -> nn.Module | nn.Parameter:
        """What lies at a dotted name; a backbone may keep a bare parameter (a class token) in a stage."""
        parent_name, _, last = name.rpartition(".")
        part = getattr(self.get_submodule(parent_name), last)
        assert isinstance(part, nn.Module | nn.Parameter)
        return part

    def stage_parameters(self, stage: str) -> dict[str, nn.Parameter]:
        """The parameters of one stage, by full name."""
        self.require_stage(stage)
        return {name: value for name, value in self.named_parameters() if self.stage_of(name) == stage}

    def layers_above(self, names: Iterable[str]) -> dict[str, int]:
        """How many layers (stages where the body has no finer ones) lie between a parameter and the logits; head: 0."""
        if self.layer_numbers:
            count = max(self.layer_numbers.values()) + 1
            return {name: count - self.layer_numbers.get(name.removeprefix("body."), count) for name in names}
        stages = [*self.stages, "head"]
        return {name: len(self.stages) - stages.index(self.stage_of(name)) for name in names}

    def require_stage(self, stage: str) -> None:
        """Refuse an unknown stage.

        Raises:
            TransferkitError: Names the nearest stage.
        """
        if stage not in (*self.stages, "head"):
            raise TransferkitError(f"Unknown stage {stage!r}. {did_you_mean(stage, self.stages)}")

    def freeze(self, stages: Sequence[str]) -> None:
        """Keep these stages as they are from now on: parameters without gradient, modules in eval mode."""
        for stage in stages:
            self.require_stage(stage)
        self.frozen = tuple(stages)
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(self.is_trained(name))
        self.train(self.training)

    def is_trained(self, name: str) -> bool:
        """Whether a parameter or buffer may change, by its full name: neither its stage nor an adapter keeps it."""
        return self.stage_of(name) not in self.frozen and self.is_adapted(name)

    def is_adapted(self, name: str) -> bool:
        """Whether an adapter trains a parameter or buffer, by its full name; without an adapter all are."""
        return self.adapted is None or self.stage_of(name) == "head" or name.removeprefix("body.") in self.adapted

    @property
    def has_frozen_body(self) -> bool:
        """Whether every stage below the head stays as it is, so that features of an image stay the same."""
        return bool(self.stages) and set(self.stages) <= set(self.frozen)

    def stages_up_to(self, stage: str) -> tuple[str, ...]:
        """The stages from the images up to and including `stage`."""
        self.require_stage(stage)
        names = tuple(self.stages)
        return names[: names.index(stage) + 1]

    def digest(self, stages: Sequence[str], *, of_frozen: bool = False) -> str:
        """SHA-256 over every parameter and buffer of some stages, or over those of them that stay as they are."""
        digest = hashlib.sha256()
        for name, value in self.state_dict().items():
            if self.stage_of(name) in stages and not (of_frozen and self.is_trained(name)):
                digest.update(name.encode())
                digest.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    @contextmanager
    def frozen_verified(self) -> Iterator[None]:
        """Check that what is frozen now is bit for bit the same at the end, buffers included.

        Raises:
            MachineError: If one changed.
        """
        adapted, stages = self.adapted, self.frozen if self.adapted is None else tuple(self.stages)
        before = {stage: self.digest([stage], of_frozen=adapted is not None) for stage in stages}
        yield
        changed = [stage for stage in stages if self.digest([stage], of_frozen=adapted is not None) != before[stage]]
        if changed:
            raise MachineError(
                f"Frozen stages changed during training: {', '.join(changed)}. This is a fault of transferkit; "
                "please report it with the run's recipe.yaml."
            )

    def set_head(self, weight: Tensor, bias: Tensor) -> None:
        """Put a linear head in place: weight (C, D), bias (C,)."""
        head = nn.Linear(weight.shape[1], weight.shape[0], device=self.get_buffer("mean").device)
        with torch.no_grad():
            head.weight.copy_(weight)
            head.bias.copy_(bias)
        self.head = head


def in_fp32(device_type: str) -> AbstractContextManager[Any]:
    """No bf16 inside, whatever is around; nothing where nothing is around, so that exported graphs hold no trace."""
    can_mix = torch.amp.autocast_mode.is_autocast_available(device_type)
    is_mixed = can_mix and torch.is_autocast_enabled(device_type)
    return torch.autocast(device_type, enabled=False) if is_mixed else nullcontext()


@torch.no_grad()
def measured_width(body: nn.Module, size: int) -> int:
    """The number of features D that a body really gives, by one forward pass; metadata can be wrong.

    Raises:
        TransferkitError: If the body cannot take images of this size, or gives no (N, D).
    """
    was_training = body.training
    try:
        features = body.eval()(torch.zeros(1, bands_of(body), size, size))
    except RuntimeError as error:
        raise TransferkitError(
            f"This backbone cannot take images of {size} x {size} px: {error}. Try a larger --size."
        ) from error
    finally:
        body.train(was_training)
    if features.ndim != 2:
        raise TransferkitError(f"A body must give features (N, D); this one gives {tuple(features.shape)}.")
    return int(features.shape[1])
