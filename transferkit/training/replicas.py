"""One network in several processes: gradients are summed over all of them, and BatchNorm learns from all on request."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from inspect import signature
from typing import Any, TypeAlias, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.overrides import TorchFunctionMode

from transferkit.models.classifier import Classifier
from transferkit.runtime.distributed import World
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.plurals import counted
from transferkit.training.checkpoint import Training
from transferkit.training.failure import read_later
from transferkit.training.groups import ParameterGroup

Network: TypeAlias = nn.Module  # a classifier, or DistributedDataParallel around one
_BatchNorm = nn.modules.batchnorm._BatchNorm
_KEYS = signature(DistributedDataParallel.__init__).parameters
_SYNC_BUFFERS = "forward_sync_buffers" if "forward_sync_buffers" in _KEYS else "broadcast_buffers"  # before torch 2.14


def replica(classifier: Classifier, world: World) -> Network:
    """The classifier, as one of those of all processes: a backward pass through it gives the mean gradients of all.

    It begins with the leader's weights. A new one for each epoch, so that what is asleep may differ from epoch to epoch
    and a training that goes on after a stop adds up in the same order.
    """
    if not world.is_shared:
        return classifier
    keys: dict[str, Any] = {_SYNC_BUFFERS: False}
    return DistributedDataParallel(classifier, **keys)


def require_images_for_all(count: int, world: World) -> None:
    """Refuse a step in which a process would have no image.

    Raises:
        TransferkitError: Says what to type.
    """
    if count < world.size:
        raise TransferkitError(
            f"A step of {counted(count, 'image')} cannot be shared by {world.size} processes. Use a "
            "larger --batch-size, or fewer --devices."
        )


def set_last_pass(network: Network, is_last: bool) -> None:
    """Let gradients be exchanged in the last pass of a step alone."""
    if isinstance(network, DistributedDataParallel):
        network.require_backward_grad_sync = is_last


def is_last_pass(network: Network) -> bool:
    """Whether the pass that was made last is the last one of its step; asked where there are several processes."""
    return not isinstance(network, DistributedDataParallel) or network.require_backward_grad_sync


def sum_read_later(total: Tensor, world: World) -> Callable[[], float]:
    """Begin to add up a number over all processes and to copy it from the device, and give what waits for it."""
    wait = world.sum_begun(total)
    if total.device.type == "cuda":
        wait()  # for the stream, not for the host
        return read_later(total)

    def read() -> float:
        wait()
        return float(total)

    return read


def seeds_from_here() -> torch.Generator:
    """Seeds that follow from the one that the process has now; drawing them changes no other random numbers."""
    return torch.Generator().manual_seed(torch.initial_seed())


@contextmanager
def own_dropout(world: World, seeds: torch.Generator) -> Iterator[None]:
    """Inside, other random numbers in every process; afterwards all draw the same ones again, as mixing needs."""
    if not world.is_shared:
        yield
        return
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(int(torch.randint(2**62, (), generator=seeds)) + world.rank)
        yield


# ------------------------------------------------------------------------------------------------------ BatchNorm


@torch.no_grad()
def average_statistics(training: Training, world: World) -> None:
    """Give every process the mean of what BatchNorm has learnt in all of them, in the weights' averages too."""
    names = [
        f"{name}.{statistic}"
        for name, module in training.classifier.named_modules()
        if isinstance(module, _BatchNorm) and module.training and module.track_running_stats
        for statistic in ("running_mean", "running_var")
    ]
    for values in (training.classifier.state_dict(), training.average or {}):
        world.average_(values[name] for name in names if name in values)


def batchnorm_over(world: World, *, is_synchronised: bool) -> AbstractContextManager[Any]:
    """Inside, BatchNorm in train mode normalises by the images of all processes, if that is asked for."""
    return SynchronisedBatchNorm(world) if is_synchronised and world.is_shared else nullcontext()


def batchnorm_in_words(
    groups: Sequence[ParameterGroup], step_images: int, world: World, *, is_synchronised: bool
) -> str:
    """What BatchNorm learns from where it is trained in several processes; empty where that is as in one."""
    if not world.is_shared or is_synchronised or all(group.batchnorm != "train" for group in groups):
        return ""
    share = f"{step_images // world.size}" + ("" if step_images % world.size == 0 else " or one more")
    return (
        f"BatchNorm normalises by the {share} images of each process; --sync-batchnorm: by all {step_images} of a "
        "step, as in one"
    )


class SynchronisedBatchNorm(TorchFunctionMode):
    """Stands in for `batch_norm`, whichever layer calls it; torch's own knows neither CPUs nor timm's layers."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is F.batch_norm:
            return self._normalised(*args, **(kwargs or {}))
        return function(*args, **(kwargs or {}))

    def _normalised(
        self,
        images: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        if not training:
            return F.batch_norm(images, running_mean, running_var, weight, bias, False, momentum, eps)
        values = images.float()
        axes = [axis for axis in range(images.ndim) if axis != 1]
        mean, variance, count = statistics_of_all(values, axes, self.world)
        if running_mean is not None and running_var is not None:
            with torch.no_grad():
                running_mean.lerp_(mean.detach().to(running_mean), momentum)
                running_var.lerp_((variance.detach() * count / (count - 1)).to(running_var), momentum)
        shape = [1, -1, *(1 for _ in axes[1:])]
        scale = torch.rsqrt(variance + eps) * (1 if weight is None else weight.float())
        shift = (0 if bias is None else bias.float()) - mean * scale
        return (values * scale.view(shape) + shift.view(shape)).to(images.dtype)


def statistics_of_all(values: Tensor, axes: list[int], world: World) -> tuple[Tensor, Tensor, float]:
    """Mean (C,), biased variance (C,) and number of the values of each channel in all processes.

    Means and variances of the processes are put together, not sums of squares, which would cancel (Chan, Golub and
    LeVeque 1979, equation 2.1).
    """
    variance, mean = torch.var_mean(values, axes, correction=0)
    number = torch.full((1,), values.numel() / values.shape[1], device=values.device)
    parts = cast(Tensor, _Gathered.apply(torch.cat([mean, variance, number]), world))  # (processes, 2 C + 1)
    means, variances = parts[:, : len(mean)], parts[:, len(mean) : -1]
    shares = (parts[:, -1:] / parts[:, -1].sum()).detach()  # (processes, 1)
    overall = (shares * means).sum(0)
    return overall, (shares * (variances + (means - overall) ** 2)).sum(0), float(parts[:, -1].sum())


class _Gathered(torch.autograd.Function):
    """The vectors of all processes, (processes, L); its gradient sums what all processes make of this one's."""

    @staticmethod
    def forward(context: Any, vector: Tensor, world: World) -> Tensor:
        context.rank = world.rank
        vectors = [torch.empty_like(vector) for _ in range(world.size)]
        dist.all_gather(vectors, vector.contiguous())
        return torch.stack(vectors)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        total = gradient.contiguous()
        dist.all_reduce(total)
        return total[context.rank], None
