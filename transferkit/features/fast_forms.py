"""The fast form of a body, kept for as long as the body stays as it is: building one takes as long as many passes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from transferkit.features.graphs import as_graph
from transferkit.features.hooks import HookedLayers, example_images, inference_copy, watched
from transferkit.features.layers import Layer, found_layer
from transferkit.models.stored_model import InputSpec
from transferkit.runtime.console import Console
from transferkit.runtime.machine import Runtime

WORD = 8  # bytes

State: TypeAlias = tuple[Any, ...]


@dataclass(frozen=True)
class FastForm:
    """A copy of a body that is cut behind the deepest layer wanted, folded, and in one precision.

    Attributes:
        network: Prepared images to the outputs of modules, by name.
        layers: What was asked for, in that order.
        is_graph: Whether the body could be traced.
    """

    network: nn.Module
    layers: tuple[Layer, ...]
    is_graph: bool


# The last form of each body, with the state of the body that it was built from.
KEPT: WeakKeyDictionary[nn.Module, tuple[State, FastForm]] = WeakKeyDictionary()


def fast_form(
    body: nn.Module, modules: Mapping[str, str], spec: InputSpec, runtime: Runtime, console: Console
) -> FastForm:
    """The form of a body for some layers: the one that was built last, where it is of the same state, else a new one.

    Args:
        body: Stays as it is.
        modules: By the names of the layers asked for.
        spec: Of the prepared images.
        runtime: Where to compute, and in which precision.
        console: Hears where a body cannot be traced.
    """
    wanted = tuple(modules.items()), spec.size, len(spec.mean), runtime.device, runtime.precision
    state = wanted, state_of(body)
    earlier, form = KEPT.get(body, (None, None))
    if form is None or earlier != state:
        form = None
        forget(body)  # before the next is built, so that there are never two
        form = built(body, modules, spec, runtime, console)
        KEPT[body] = state, form
    return form


def forget(body: nn.Module) -> None:
    """Give back the memory of a body's form, which is of no use any more once the body learns."""
    KEPT.pop(body, None)


def built(body: nn.Module, modules: Mapping[str, str], spec: InputSpec, runtime: Runtime, console: Console) -> FastForm:
    """The form of a body for some layers."""
    copied = inference_copy(body, runtime.device)
    images = example_images(spec.size, runtime.device, len(spec.mean))
    reference = watched(copied, sorted(set(modules.values())), images)
    layers = tuple(found_layer(name, module, reference.outputs[module]) for name, module in modules.items())
    graph = as_graph(copied, reference, images, console)
    network = graph or HookedLayers(copied, reference.calls, reference.deepest)
    if runtime.precision == "bf16":
        round_weights(network)
    return FastForm(network, layers, graph is not None)


def state_of(body: nn.Module) -> State:
    """What changes with a body: how it prints itself, its tensors, and what stands in them.

    torch counts the changes of a tensor, but not those by fused optimisers, through `.data` or by BatchNorm. These
    change the sum of its words, which is read at a thirtieth of what building a form takes.
    """
    tensors = (*body.parameters(), *body.buffers())
    places = tuple((value.data_ptr(), -1 if value.is_inference() else value._version) for value in tensors)
    sums = [total for value in tensors for total in word_sums(value.detach())]
    return repr(body), places, tuple(torch.stack(sums).tolist()) if sums else ()


def word_sums(values: Tensor) -> tuple[Tensor, Tensor]:
    """The sum, modulo 2^64, of the words of a tensor's memory, and that of the bytes behind the last whole word.

    Example:
        >>> [int(total) for total in word_sums(torch.tensor([1, 2, 0, 0, 0, 0, 0, 0, 7], dtype=torch.uint8))]
        [513, 7]
    """
    memory = torch.empty(0, dtype=torch.uint8, device=values.device).set_(values.untyped_storage())
    whole = len(memory) - len(memory) % WORD
    return memory[:whole].view(torch.int64).sum(), memory[whole:].sum()


def round_weights(network: nn.Module) -> None:
    """Change the weights of convolutions and linear layers to bf16, as autocast would round them in every pass anew.

    The features stay the same to the bit. A single image of ResNet-18 at 224 px passes 1.1 times as fast.
    """
    for module in network.modules():
        if type(module) in (nn.Conv2d, nn.Linear):  # other kinds may do more with their weights than multiply
            for name, values in module.named_parameters(recurse=False):
                setattr(module, name, nn.Parameter(values.bfloat16(), requires_grad=False))
