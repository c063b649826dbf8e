"""Where a convolutional network looked: class-activation maps of its last convolution (Grad-CAM)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transferkit.models.classifier import Classifier


@dataclass(frozen=True)
class CamLayer:
    """The module whose output is mapped, and the side lengths of that output in px; `reason` says why there is none.

    A module that is used several times in a pass (one ReLU for all layers, a convolution in a loop) stands for several
    layers: `call` counts its calls from 0.
    """

    name: str
    height: int
    width: int
    reason: str = ""
    call: int = 0


@dataclass(frozen=True)
class _Call:
    """One call of a module during a forward pass, in the order in which the calls ended."""

    name: str
    shape: tuple[int, ...]
    is_convolution: bool
    is_learnt_leaf: bool

    @property
    def has_places(self) -> bool:
        """Whether the output is a map or a sequence of more than one place."""
        return len(self.shape) == 3 or (len(self.shape) == 4 and self.shape[2] * self.shape[3] > 1)


def cam_layer(classifier: Classifier) -> CamLayer:
    """The last module that gives a map at the resolution of the last convolution, before any pooling.

    That is the ReLU behind the last convolution of AlexNet and VGG, `layer4` of ResNets and the last stage of timm's
    CNNs: the layer Selvaraju et al. (ICCV 2017, section 3) choose. Convolutions that see a single place (squeeze and
    excitation, fully connected layers written as convolutions) do not count.

    Returns:
        The layer; one without name, and with the reason, where the network has no such map.
    """
    calls = _calls(classifier)
    if not any(call.is_convolution for call in calls):
        return CamLayer("", 0, 0, "it has no convolution")
    convolutions = [at for at, call in enumerate(calls) if call.is_convolution and call.has_places]
    if not convolutions:
        return CamLayer("", 0, 0, "its last convolution sees the image as a single place; try a larger --size")
    places = calls[convolutions[-1]].shape[2:]
    at = max(at for at in range(convolutions[-1], len(calls)) if _is_map(calls[at], places))
    if any(call.is_learnt_leaf and call.has_places for call in calls[at + 1 :]):
        return CamLayer("", 0, 0, "places are mixed by other layers after its last convolution (a transformer)")
    earlier = sum(call.name == calls[at].name for call in calls[:at])
    return CamLayer(calls[at].name, places[0], places[1], call=earlier)


def _is_map(call: _Call, places: tuple[int, ...]) -> bool:
    return len(call.shape) == 4 and call.shape[2:] == places


@torch.no_grad()
def _calls(classifier: Classifier) -> list[_Call]:
    """What every module of the body gives for one image."""
    calls: list[_Call] = []

    def record(name: str) -> Any:
        def hook(module: nn.Module, _: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                is_learnt_leaf = not list(module.children()) and bool(list(module.parameters()))
                calls.append(_Call(name, tuple(output.shape), isinstance(module, nn.Conv2d), is_learnt_leaf))

        return hook

    handles = [module.register_forward_hook(record(name)) for name, module in classifier.body.named_modules() if name]
    size, device = classifier.input_spec.size, classifier.get_buffer("mean").device
    try:
        with _fixed(classifier):
            classifier.features(torch.zeros(1, len(classifier.input_spec.mean), size, size, device=device))
    finally:
        for handle in handles:
            handle.remove()
    return calls


@contextmanager
def _fixed(classifier: Classifier) -> Iterator[None]:
    """Eval mode, one view and no gradients for parameters inside, so that no graph is kept below the mapped layer."""
    was_training = classifier.training
    averages = classifier.averages_mirror, classifier.averages_shifts
    learning = [parameter for parameter in classifier.parameters() if parameter.requires_grad]
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        classifier.eval()
        classifier.averages_mirror = classifier.averages_shifts = False
        yield
    finally:
        classifier.averages_mirror, classifier.averages_shifts = averages
        for parameter in learning:
            parameter.requires_grad_(True)
        classifier.train(was_training)


def gradcam(classifier: Classifier, images: Tensor, classes: Tensor, layer: CamLayer) -> npt.NDArray[np.float32]:
    """Which places of each image speak for a class: the layer's channels, weighted by the class's mean gradient.

    Selvaraju et al., ICCV 2017 (arXiv:1610.02391), eqs. 1 and 2, in eval mode and fp32. The layer's output is cut off
    from the network below and its gradient taken by `autograd.grad`: full backward hooks fail with in-place ReLUs.
    Where the module is used several times, the layer is its one call that `cam_layer` found, the last that gives such a
    map: the equations are about the maps A^k of one layer, and a sum over calls would mix maps of different layers,
    which may differ in size. Views that are averaged at test time are left out: the map is of the image as it is.

    Args:
        classifier: Left as it was, without gradients.
        images: (N, 3, H, W), uint8 or in [0, 1], on the classifier's device.
        classes: (N,) int64, the class asked for in each image.
        layer: From `cam_layer`.

    Returns:
        (N, h, w) in [0, 1], of the resized image; 1 at the strongest place, all 0 where nothing speaks for the class.
    """
    leaves: list[Tensor] = []
    calls = itertools.count()

    def cut_off(_: nn.Module, __: Any, output: Tensor) -> Tensor | None:
        if next(calls) != layer.call:
            return None
        leaves.append(output.detach().requires_grad_())
        return leaves[-1].clone()  # what comes after may change it in place

    handle = classifier.body.get_submodule(layer.name).register_forward_hook(cut_off)
    try:
        with _fixed(classifier), torch.enable_grad():
            chosen = classifier(images).float().gather(1, classes[:, None]).sum()
            (gradient,) = torch.autograd.grad(chosen, leaves)
    finally:
        handle.remove()
    weights = gradient.mean(dim=(2, 3), keepdim=True)  # (N, K, 1, 1)
    maps = F.relu((weights * leaves[0].detach()).sum(dim=1))  # (N, h, w)
    largest = maps.amax(dim=(1, 2), keepdim=True).clamp_min(torch.finfo(maps.dtype).tiny)
    scaled: npt.NDArray[np.float32] = (maps / largest).cpu().numpy()
    return scaled
