"""Puts weights into a body, or says what does not fit and what network they look like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from transferkit.models.bands import adapt_stem
from transferkit.models.weights.content import Weights
from transferkit.models.weights.reading import Tensors
from transferkit.runtime.errors import TransferkitError

SHOWN = 8


def without_head(tensors: Tensors, head: Sequence[str]) -> Tensors:
    """The tensors outside the classification layer, which lies at the module names `head`."""
    prefixes = tuple(f"{name}." for name in head)
    return {name: value for name, value in tensors.items() if not name.startswith(prefixes)}


def fill(body: nn.Module, weights: Weights, backbone: str, head: Sequence[str]) -> None:
    """Put weights into a body, in place; every tensor of the body is replaced, its stem where they know other bands.

    Args:
        body: May lie on the meta device.
        weights: With or without a classification layer, of any number of classes.
        backbone: Its name, for the error.
        head: Module names of the classification layer, whose tensors are dropped.

    Raises:
        TransferkitError: Lists missing and unexpected tensors and those of other shapes, and guesses the network.
    """
    if weights.preparation is not None:
        adapt_stem(body, len(weights.preparation.mean), pretrained=False)
    tensors = without_head(weights.tensors, head)
    expected = body.state_dict()
    counters = {name for name in expected if name.endswith(".num_batches_tracked")}  # older files have none
    problems = tensor_differences(expected, tensors, optional=counters)
    if problems:
        raise TransferkitError(_does_not_fit(weights, backbone, problems))
    counts = {name: torch.zeros((), dtype=torch.long) for name in counters}
    body.load_state_dict({**counts, **tensors}, assign=True)


def tensor_differences(expected: Mapping[str, Tensor], given: Mapping[str, Tensor], optional: set[str]) -> list[str]:
    """One line per kind of difference between two state dicts, each listing the first few names."""
    missing = [name for name in expected if name not in given and name not in optional]
    unexpected = [name for name in given if name not in expected]
    misshapen = [
        f"{name} {tuple(given[name].shape)} instead of {tuple(value.shape)}"
        for name, value in expected.items()
        if name in given and given[name].shape != value.shape
    ]
    kinds = {"missing": missing, "unexpected": unexpected, "of another shape": misshapen}
    return [f"{len(items)} {kind}: {_listed(items)}" for kind, items in kinds.items() if items]


def _listed(items: Sequence[str]) -> str:
    more = f" and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return ", ".join(items[:SHOWN]) + more


def _does_not_fit(weights: Weights, backbone: str, problems: Sequence[str]) -> str:
    guess = guessed_backbone(weights.tensors)
    looks = f" It looks like {guess}." if guess and guess != backbone else ""
    lines = "\n".join(f"  {problem}" for problem in problems)
    return f"The weights {weights.record.tag} do not fit {backbone}.{looks} Tensors outside the old head:\n{lines}"


def guessed_backbone(tensors: Mapping[str, Tensor]) -> str:
    """The network that a state dict looks like; empty where nothing is recognised."""
    if "layer1.0.conv1.weight" in tensors:
        return _guessed_resnet(tensors)
    if "features.0.weight" in tensors:
        return _guessed_vgg_or_alexnet(tensors)
    if "blocks.0.attn.qkv.weight" in tensors:
        return "a vision transformer of timm (timm/vit_...)"
    if "stem.0.weight" in tensors and "stages.0.blocks.0.gamma" in tensors:
        return "a ConvNeXt of timm (timm/convnext_...)"
    if "stage1.0.convolutions.0.weight" in tensors:
        blocks = len({name.split(".")[1] for name in tensors if name.startswith("stage1.")})
        return "resnet-mini" if blocks == 1 else f"resnet{6 * blocks + 2} or plain{6 * blocks + 2}"
    return ""


def _guessed_resnet(tensors: Mapping[str, Tensor]) -> str:
    names: dict[tuple[int, ...], tuple[str, str]] = {
        (2, 2, 2, 2): ("resnet18", ""),
        (3, 4, 6, 3): ("resnet34", "resnet50"),
        (3, 4, 23, 3): ("", "resnet101"),
        (3, 8, 36, 3): ("", "resnet152"),
    }  # He et al. 2016, table 1
    blocks = {(name.split(".")[0], name.split(".")[1]) for name in tensors if name.startswith("layer")}
    counts: tuple[int, ...] = tuple(sum(layer == f"layer{number}" for layer, _ in blocks) for number in range(1, 5))
    basic, bottleneck = names.get(counts, ("", ""))
    return bottleneck if "layer1.0.conv3.weight" in tensors else basic


def _guessed_vgg_or_alexnet(tensors: Mapping[str, Tensor]) -> str:
    convolutions = [value for name, value in tensors.items() if name.startswith("features.") and value.ndim == 4]
    if tensors["features.0.weight"].shape[2:] == (11, 11):
        return "alexnet"
    name = {8: "vgg11", 10: "vgg13", 13: "vgg16", 16: "vgg19"}.get(len(convolutions), "")
    return f"{name}_bn" if name and "features.1.running_mean" in tensors else name
