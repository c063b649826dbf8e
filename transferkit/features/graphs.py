"""A network as a graph that ends at the deepest layer wanted."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from transferkit.features.folding import fold_batchnorm
from transferkit.features.hooks import Watched
from transferkit.features.layers import BODY
from transferkit.runtime.console import Console

SAME = 1e-3  # largest difference, relative to the largest value, between two forms of one network in fp32
TF32_SAME = 2e-2  # the same on a GPU, where fp32 may be computed as TF32


def as_graph(body: nn.Module, reference: Watched, images: Tensor, console: Console) -> fx.GraphModule | None:
    """The body as a graph that ends at the deepest module, BatchNorm folded; None where it cannot be traced.

    The graph is kept only if it gives what the body gave.
    """
    try:
        graph = cut_graph(body, list(reference.calls))
        fold_batchnorm(graph)
        with torch.no_grad():
            outputs = graph(images)
    except Exception as error:  # tracing runs the model's own code, which may raise anything
        reason = (str(error) or type(error).__name__).splitlines()[0]
        console.line(f"features by hooks, BatchNorm as it is: the network cannot be traced ({reason[:120]}).")
        return None
    different = [name for name, output in outputs.items() if not nearly_equal(output, reference.outputs[name])]
    if different:
        console.line(f"features by hooks: the traced network differs at {', '.join(map(repr, different))}.")
        return None
    return graph


def nearly_equal(output: Any, reference: Tensor) -> bool:
    """Whether two fp32 outputs differ by rounding only."""
    if not isinstance(output, Tensor) or output.shape != reference.shape:
        return False
    tolerance = TF32_SAME if reference.device.type == "cuda" else SAME
    scale = float(reference.nan_to_num(0, 0, 0).abs().max())
    return torch.allclose(output, reference, rtol=0, atol=tolerance * scale + 1e-7, equal_nan=True)


class LayerTracer(fx.Tracer):
    """Symbolic tracing that remembers which node each module's last output is."""

    def __init__(self, leaves: tuple[type[nn.Module], ...], functions: tuple[Callable[..., Any], ...]) -> None:
        super().__init__(autowrap_functions=functions)
        self.leaves = leaves
        self.layer_nodes: dict[str, fx.Node] = {}

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Normalisation stays whole, so that it can be folded; so do modules that do not trace."""
        is_leaf = isinstance(m, (_BatchNorm, *self.leaves))
        return is_leaf or super().is_leaf_module(m, module_qualified_name)

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """As torch.fx does, with a note of the node."""
        output = super().call_module(m, forward, args, kwargs)
        if isinstance(output, fx.Proxy):
            self.layer_nodes[self.path_of_module(m)] = output.node
        return output


def cut_graph(body: nn.Module, modules: Sequence[str]) -> fx.GraphModule:
    """The part of a body that these modules' outputs need, as a graph that gives them by name."""
    tracer = LayerTracer(*untraceable_parts(body))
    graph = tracer.trace(body)
    end = next(node for node in graph.nodes if node.op == "output")
    nodes = {name: end.args[0] if name == BODY else tracer.layer_nodes[name] for name in modules}
    graph.erase_node(end)
    for node in graph.nodes:
        if node.target is operator.iadd:  # `maps += shortcut` would overwrite the output of the layer before
            node.target = operator.add
    remove_after(graph, [node for node in nodes.values() if isinstance(node, fx.Node)])
    graph.output(nodes)
    network = fx.GraphModule(body, graph)
    network.graph.eliminate_dead_code()
    network.delete_all_unused_submodules()
    network.recompile()
    return network.eval()


def remove_after(graph: fx.Graph, last: Sequence[fx.Node]) -> None:
    """Erase everything behind the last of some nodes, checks of shapes included, which count as used."""
    for node in reversed(list(graph.nodes)):
        if node in last:
            return
        graph.erase_node(node)


def untraceable_parts(body: nn.Module) -> tuple[tuple[type[nn.Module], ...], tuple[Callable[..., Any], ...]]:
    """Modules and functions that timm asks tracers to leave whole."""
    if not any(type(module).__module__.startswith("timm.") for module in body.modules()):
        return (), ()
    import timm.models._features_fx as timm_tracing

    menu: Any = timm_tracing
    return tuple(menu.get_notrace_modules()), tuple(menu.get_notrace_functions())
