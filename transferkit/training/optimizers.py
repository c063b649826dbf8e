"""SGD and AdamW over the parameter groups: which numbers decay, which rates they have, how gradients are cut."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from transferkit.models.classifier import Classifier
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.machine import Runtime
from transferkit.runtime.torch_compiler import compiler_left_out
from transferkit.training.checkpoint import Training, trained_parameters
from transferkit.training.groups import ParameterGroup
from transferkit.training.resolved import ResolvedTraining


@dataclass(frozen=True)
class RateGroup:
    """Parameters with one rate and one decay; its fields are what torch.optim calls them, and the scale for the log.

    Attributes:
        params: The parameters.
        lr: Peak rate.
        weight_decay: 0 is off.
        scale: The rate as a multiple of the stage's.
    """

    params: list[nn.Parameter]
    lr: float
    weight_decay: float
    scale: float


def optimizer_groups(
    classifier: Classifier, group: ParameterGroup, norm_bias_scale: float = 1.0
) -> Iterator[RateGroup]:
    """The stage's weights with decay; norms, biases (everything of one dimension) and what the body exempts without.

    The rate falls by the group's `layer_decay` per layer inside the stage. Biases of BatchNorm have `norm_bias_scale`
    times the rate (Page 2019; Jordan 2024, section 3.4: 64 times).
    """
    parameters = {
        name: value for name, value in classifier.stage_parameters(group.stage).items() if classifier.is_trained(name)
    }
    fast = norm_biases(classifier) if norm_bias_scale != 1 else set()
    depths = classifier.layers_above(parameters)
    alike: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for name, value in parameters.items():
        decays = value.ndim > 1 and name.removeprefix("body.") not in classifier.undecayed
        scale = group.layer_decay ** (depths[name] - min(depths.values()))
        alike.setdefault((decays, scale * norm_bias_scale if name in fast else scale), []).append(value)
    for (decays, scale), chosen in alike.items():
        decay = group.weight_decay if decays else 0.0
        yield RateGroup(chosen, scale * group.lr, decay, scale)


def rate_groups(
    classifier: Classifier, groups: Sequence[ParameterGroup], norm_bias_scale: float = 1.0
) -> list[RateGroup]:
    """Those of all stages, joined where rate and decay are the same: each update is asked of the device on its own.

    Stages that wake at different epochs stay apart, because the momentum of one begins later.
    """
    alike: dict[tuple[float, float, float, int, int | None], list[nn.Parameter]] = {}
    for group in groups:
        for option in optimizer_groups(classifier, group, norm_bias_scale):
            key = (option.lr, option.weight_decay, option.scale, group.wakes_at, group.sleeps_at)
            alike.setdefault(key, []).extend(option.params)
    return [RateGroup(params, *key[:3]) for key, params in alike.items()]


def norm_biases(classifier: Classifier) -> set[str]:
    """Names of the biases of all BatchNorm layers."""
    modules = classifier.named_modules()
    return {f"{name}.bias" for name, module in modules if isinstance(module, nn.modules.batchnorm._BatchNorm)}


def create_optimizer(
    groups: Sequence[RateGroup], settings: ResolvedTraining, runtime: Runtime
) -> torch.optim.Optimizer:
    """The optimiser over these groups.

    Raises:
        TransferkitError: If there is nothing to train.
    """
    options = [dict(vars(group)) for group in groups]
    if not options:
        raise TransferkitError("Every stage is frozen, so nothing would be trained. Choose an earlier --freeze-to.")
    fused, momentum = runtime.device.type in ("cpu", "cuda"), settings.momentum
    with compiler_left_out():
        if settings.optimizer == "adamw":
            return torch.optim.AdamW(options, fused=fused)
        return torch.optim.SGD(options, lr=0.1, momentum=momentum, nesterov=momentum > 0, fused=fused)


def set_rates(training: Training, share: float) -> None:
    """Give every group this share of its peak rate."""
    for group, peak in zip(training.optimizer.param_groups, training.peak_rates, strict=True):
        group["lr"] = peak * share


def clipped_norm(training: Training, largest: float) -> Tensor:
    """The gradient's norm, before it is cut to at most `largest`."""
    return nn.utils.clip_grad_norm_(trained_parameters(training.optimizer), largest)
