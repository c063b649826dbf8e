"""A folded graph whose convolutions hold weights in oneDNN's own layout, with ReLU and addition in the same kernel.

These are operators that torch's own compiler uses, without a promise that they stay as they are.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp


class Prepacked(nn.Module):
    """A convolution in bf16; what is added to its output, and ReLU, come before rounding."""

    def __init__(self, convolution: nn.Conv2d, shape: Sequence[int], has_relu: bool) -> None:
        super().__init__()
        one = convolution
        self.how = [list(one.padding), list(one.stride), list(one.dilation), one.groups]
        weight = one.weight.detach().bfloat16().to_mkldnn()
        self.weight = torch._C._nn.mkldnn_reorder_conv2d_weight(weight, *self.how, shape)
        self.bias = None if one.bias is None else one.bias.detach().bfloat16()
        self.then = "relu" if has_relu else None

    def forward(self, maps: Tensor, other: Tensor | None = None) -> Tensor:
        """Maps (N, C, H, W) in bf16."""
        operators, first = torch.ops.mkldnn._convolution_pointwise, (self.weight, self.bias, *self.how)
        if other is None:
            return operators(maps, *first, self.then or "none", [], "")
        return operators.binary(maps, other, *first, "add", 1.0, self.then, [], None)


def prepacked(network: nn.Module, prepared: Tensor) -> Callable[[Tensor], Any]:
    """The same network for images like these."""
    graph: Any = copy.deepcopy(network)
    ShapeProp(graph).propagate(prepared)
    modules = dict(graph.named_modules())
    for node in [node for node in graph.graph.nodes if is_a(node, modules, nn.Identity)]:
        node.replace_all_uses_with(node.args[0])
        graph.graph.erase_node(node)
    for node in [node for node in graph.graph.nodes if is_a(node, modules, nn.Conv2d)]:
        join(graph, node, modules)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return lambda images: graph(images.to(torch.bfloat16, memory_format=torch.channels_last))


def is_a(node: fx.Node | None, modules: dict[str, nn.Module], kind: type[nn.Module]) -> bool:
    """Whether a node calls a module of this kind."""
    return node is not None and node.op == "call_module" and isinstance(modules.get(str(node.target)), kind)


def join(graph: Any, node: fx.Node, modules: dict[str, nn.Module]) -> None:
    """Put one kernel in the place of a convolution and what comes right after it."""
    last, inputs = node, [node.args[0]]
    after = only_user(node)
    if after is not None and after.target in (operator.add, torch.add):
        inputs += [value for value in after.args if value is not node]
        last = after
    has_relu = is_a(only_user(last), modules, nn.ReLU)
    last = (only_user(last) if has_relu else None) or last
    name = f"prepacked_{node.name}"
    shape = list(node.args[0].meta["tensor_meta"].shape)  # type: ignore[union-attr]
    graph.add_submodule(name, Prepacked(modules[str(node.target)], shape, has_relu))  # type: ignore[arg-type]
    with graph.graph.inserting_before(last):
        joined = graph.graph.call_module(name, tuple(inputs))
    joined.meta = last.meta
    last.replace_all_uses_with(joined)
    graph.graph.erase_node(last)


def only_user(node: fx.Node) -> fx.Node | None:
    """What uses the output of a node, if it is one thing alone."""
    return next(iter(node.users)) if len(node.users) == 1 else None
