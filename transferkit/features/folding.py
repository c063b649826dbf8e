"""Folds BatchNorm into the convolutions before it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold_batchnorm(network: fx.GraphModule) -> int:
    """Fold each BatchNorm that follows a convolution of its own into that convolution; returns how many.

    A convolution whose own output is wanted too stays beside its folded twin: what else is asked for must not decide
    what is folded, and so how the rest rounds.

    w' = w * gamma / sqrt(var + eps), b' = (b - mean) * gamma / sqrt(var + eps) + beta: torch.nn.utils.fusion.
    """
    modules = dict(network.named_modules())
    uses = Counter(node.target for node in network.graph.nodes if node.op == "call_module")
    folded = 0
    for node in list(network.graph.nodes):
        pair = foldable_pair(node, modules, uses)
        if pair is None:
            continue
        convolution, norm = pair
        before = node.args[0]
        if len(before.users) > 1:
            before = twin(network, before)
            node.replace_input_with(node.args[0], before)
        network.set_submodule(before.target, fuse_conv_bn_eval(convolution, norm))
        network.set_submodule(node.target, after_normalisation(norm))
        folded += 1
    network.recompile()
    return folded


def foldable_pair(
    node: fx.Node, modules: Mapping[str, nn.Module], uses: Mapping[Any, int]
) -> tuple[nn.Conv2d, _BatchNorm] | None:
    """The convolution and the BatchNorm behind it, if `node` is that BatchNorm and neither is used elsewhere."""
    before = node.args[0] if node.op == "call_module" and node.args else None
    if not isinstance(before, fx.Node) or before.op != "call_module":
        return None
    if any(user is not node and user.op != "output" for user in before.users):
        return None
    norm, convolution = modules[str(node.target)], modules[str(before.target)]
    is_known = type(norm) is nn.BatchNorm2d or type(norm).__name__ == "BatchNormAct2d"
    is_single = uses[node.target] == uses[before.target] == 1
    if not (is_known and is_single and type(convolution) is nn.Conv2d and isinstance(norm, _BatchNorm)):
        return None
    return (convolution, norm) if norm.running_mean is not None else None


def twin(network: fx.GraphModule, convolution: fx.Node) -> fx.Node:
    """The same convolution once more, behind the first, under a name of its own."""
    name = f"{convolution.target}_folded"
    network.add_submodule(name, network.get_submodule(str(convolution.target)))
    with network.graph.inserting_after(convolution):
        return network.graph.call_module(name, convolution.args, convolution.kwargs)


def after_normalisation(norm: _BatchNorm) -> nn.Module:
    """What a BatchNorm layer does besides: timm's BatchNormAct2d has dropout and activation in it."""
    if type(norm) is nn.BatchNorm2d:
        return nn.Identity()
    return nn.Sequential(norm.get_submodule("drop"), norm.get_submodule("act"))
