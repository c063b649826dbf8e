"""A module of the user's own as a body: its last linear layer taken off, its stages found, its softmax refused."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from transferkit.models.bands import ATTRIBUTE, bands_of
from transferkit.models.logit_checks import activation, loss_floor
from transferkit.runtime.errors import TransferkitError, did_you_mean, reason
from transferkit.runtime.plurals import counted

Stages = Mapping[str, tuple[str, ...]]
AskedStages = Sequence[str] | Mapping[str, Sequence[str]] | None
EXAMPLES = 2
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "a softmax": lambda logits: logits.softmax(1),
    "a log-softmax": lambda logits: logits.log_softmax(1),
    "a sigmoid": torch.sigmoid,
}


@dataclass(frozen=True)
class OwnBody:
    """A body made of a module.

    Attributes:
        network: A copy of the module, in eval mode, that gives features (N, D).
        removed: Name of the linear layer that was taken off; empty where the module gave features already.
        answers: (EXAMPLES, D), what it says of fixed images: two modules whose code differs differ in it.
        order: Names of its modules, in the order in which a forward pass first calls them.
        bands: How many bands its images have; 1 is grey.
    """

    network: nn.Module
    removed: str
    answers: Tensor
    order: tuple[str, ...]
    bands: int = 3


@torch.no_grad()
def own_body(module: Any, size: int) -> OwnBody:
    """A copy of a module without its last linear layer; the module itself stays as it is.

    Raises:
        TransferkitError: If it is no module, cannot be copied, cannot take images of this side, gives something else
            than (N, C), or ends in a softmax, a log-softmax or a sigmoid; in one sentence.
    """
    network = _copied(module)
    images, forward_pass = _first_pass(network, size)
    outputs, linear = forward_pass.outputs, forward_pass.linear
    _refuse_activation(outputs, linear.output if linear else None)
    name = linear.name if linear and torch.equal(linear.output, outputs) else ""
    if name:
        parent, _, last = name.rpartition(".")
        setattr(network.get_submodule(parent), last, nn.Identity())
    bands = images.shape[1]
    if bands != bands_of(network):
        setattr(network, ATTRIBUTE, bands)
    return OwnBody(network, name, network(images) if name else outputs, forward_pass.order, bands)


def _copied(module: Any) -> nn.Module:
    if inspect.isclass(module) and issubclass(module, nn.Module):
        raise TransferkitError(f"{module.__name__} is a class. Expected a network made from it: {module.__name__}().")
    if isinstance(module, torch.jit.ScriptModule):
        raise TransferkitError("A TorchScript module cannot be taken apart. Give the nn.Module that it was made from.")
    module = getattr(module, "_orig_mod", module)  # below torch.compile
    if isinstance(module, nn.Linear):
        raise TransferkitError("A single Linear layer has no body below it. Use the method probe with raw pixels.")
    try:
        network: nn.Module = copy.deepcopy(module).cpu().float().eval()
    except Exception as error:  # whatever a module's own copy raises
        raise TransferkitError(
            f"Your {type(module).__name__} cannot be copied, so it cannot be trained apart from your program's own: "
            f"{reason(error)}."
        ) from error
    return network


@dataclass(frozen=True)
class _LinearCall:
    """A linear layer, and what it gave."""

    name: str
    output: Tensor


@dataclass(frozen=True)
class _ForwardPass:
    """The outputs, the linear layer that was called last, and the order in which modules were first called."""

    outputs: Tensor
    linear: _LinearCall | None
    order: tuple[str, ...]


def _first_pass(network: nn.Module, size: int) -> tuple[Tensor, _ForwardPass]:
    """Images of as many bands as the network takes, and what it does with them.

    Raises:
        TransferkitError: If it fails on all; says why on those of its first convolution.
    """
    first = (module.in_channels for module in network.modules() if isinstance(module, nn.Conv2d))
    errors: list[TransferkitError] = []
    for bands in dict.fromkeys((next(first, 3), 3, 1)):
        images = torch.rand(EXAMPLES, bands, size, size, generator=torch.Generator().manual_seed(0))
        try:
            return images, _watched(network, images)
        except TransferkitError as error:
            errors.append(error)
    raise errors[0]


def _watched(network: nn.Module, images: Tensor) -> _ForwardPass:
    """A forward pass under observation."""
    linear: list[_LinearCall] = []
    order: dict[str, None] = {}

    def keep(name: str, module: nn.Module, output: Any) -> None:
        if isinstance(module, nn.Linear):
            linear.append(_LinearCall(name, output))

    handles = [
        handle
        for name, module in network.named_modules()
        for handle in (
            module.register_forward_pre_hook(lambda _module, _inputs, name=name: order.setdefault(name)),
            module.register_forward_hook(lambda module, _inputs, output, name=name: keep(name, module, output)),
        )
    ]
    try:
        outputs = _outputs(network, images)
        return _ForwardPass(outputs, linear[-1] if linear else None, tuple(order))
    finally:
        for handle in handles:
            handle.remove()


def _outputs(network: nn.Module, images: Tensor) -> Tensor:
    """(N, C) of prepared images.

    Raises:
        TransferkitError: If the network fails on them, or gives something else.
    """
    name, shape = type(network).__name__, tuple(images.shape)
    try:
        outputs = network(images)
    except Exception as error:  # whatever a forward of the user's own raises
        advice = "Give the side it was written for as size=..."
        if isinstance(error, TypeError):
            advice = "Its forward has to take the images alone: give every other argument a default"
        raise TransferkitError(f"Your {name} cannot take images {shape}: {reason(error)}. {advice}.") from error
    if not isinstance(outputs, Tensor) or outputs.ndim != 2 or len(outputs) != len(images):
        came = tuple(outputs.shape) if isinstance(outputs, Tensor) else f"a {type(outputs).__name__}"
        raise TransferkitError(
            f"Your {name} gives {came} for {counted(len(images), 'image')}. Expected logits or features alone, one row "
            f"per image: ({len(images)}, C).{_way_to_rows(outputs)}"
        )
    return outputs


def _way_to_rows(outputs: Any) -> str:
    """What to change in a forward that gives more than rows; empty where that is not known."""
    if isinstance(outputs, Tensor):
        return " Average maps over their sides, as in x.mean((2, 3))." if outputs.ndim == 4 else ""
    parts = outputs.items() if isinstance(outputs, Mapping) else enumerate(outputs) if _is_list(outputs) else ()
    place = next((place for place, part in parts if isinstance(part, Tensor) and part.ndim == 2), None)
    return "" if place is None else f" Return its part [{place!r}] alone, from a module around it if it is not yours."


def _is_list(outputs: Any) -> bool:
    return isinstance(outputs, list | tuple)


def _refuse_activation(outputs: Tensor, logits: Tensor | None) -> None:
    """Refuse what a lecture calls the softmax before the loss.

    Raises:
        TransferkitError: Says which activation it is, and what it does to the loss.
    """
    problem = activation(outputs)
    if not problem and logits is not None and logits.shape == outputs.shape:
        present = [name for name, function in ACTIVATIONS.items() if torch.allclose(function(logits), outputs)]
        problem = f"The network ends in {present[0]} behind its last linear layer." if present else ""
        if present == ["a sigmoid"]:
            problem += f" With cross-entropy the loss cannot fall below {loss_floor(outputs.shape[1]):.3f}."
    if problem:
        raise TransferkitError(f"{problem} Remove it: a network returns logits, and the loss contains the softmax.")


# --------------------------------------------------------------------------------------------------------- stages


def own_stages(body: OwnBody, asked: AskedStages) -> Stages:
    """Stages by name, in the order of the forward pass: as asked for, or else the children that hold tensors.

    Raises:
        TransferkitError: If a stage is no part of the network, or a tensor is in none; names it.
    """
    if asked is None:
        return _children(body)
    mapping = asked if isinstance(asked, Mapping) else {name: (name,) for name in asked}
    stages = {
        str(name): (prefixes,) if isinstance(prefixes, str) else tuple(prefixes) for name, prefixes in mapping.items()
    }
    parts = [name for name, _ in body.network.named_modules() if name] + _tensors(body.network)
    for prefix in (prefix for prefixes in stages.values() for prefix in prefixes):
        if prefix not in parts:
            raise TransferkitError(f"stages names {prefix!r}, which the network lacks. {did_you_mean(prefix, parts)}")
    left_out = [name for name in _tensors(body.network) if not any(_holds(p, name) for s in stages.values() for p in s)]
    if left_out or "head" in stages:
        missing = (
            f"{left_out[0]!r} is in none of the stages {', '.join(stages)}" if left_out else "head is the new head"
        )
        raise TransferkitError(f"stages: {missing}. Every parameter and buffer below the head belongs to one stage.")
    return stages


def _children(body: OwnBody) -> Stages:
    """The children with tensors, those of an only child in its place; bare tensors belong to the first of them."""
    prefix = ""
    while len(children := _with_tensors(body.network.get_submodule(prefix))) == 1 and not _bare(body.network, prefix):
        deeper = f"{prefix}.{children[0]}" if prefix else children[0]
        if not _with_tensors(body.network.get_submodule(deeper)):
            break
        prefix = deeper
    names = [f"{prefix}.{child}" if prefix else child for child in children]
    names.sort(key=lambda name: min((i for i, called in enumerate(body.order) if _holds(name, called)), default=-1))
    stages = {_stage_name(name): (name,) for name in names}
    if bare := _bare(body.network, prefix):
        first = next(iter(stages), "parameters")
        stages[first] = (*stages.get(first, ()), *bare)
    return stages


def _stage_name(module: str) -> str:
    name = module.rpartition(".")[2]
    return f"body_{name}" if name == "head" or name.isdigit() else name


def _with_tensors(module: nn.Module) -> list[str]:
    return [name for name, child in module.named_children() if _tensors(child)]


def _bare(network: nn.Module, prefix: str) -> list[str]:
    """Tensors that a module holds itself."""
    module = network.get_submodule(prefix)
    own = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
    return [f"{prefix}.{name}" if prefix else name for name, _ in own]


def _tensors(module: nn.Module) -> list[str]:
    return [name for name, _ in (*module.named_parameters(), *module.named_buffers())]


def _holds(prefix: str, name: str) -> bool:
    return name == prefix or name.startswith(f"{prefix}.")


def reset(network: nn.Module) -> Iterator[str]:
    """Give every layer new random weights; yields the parameters that no layer knows how to draw."""
    for prefix, module in network.named_modules():
        draw = getattr(module, "reset_parameters", None)
        if callable(draw):
            draw()
        else:
            yield from (f"{prefix}.{name}" if prefix else name for name, _ in module.named_parameters(recurse=False))
