"""In which memory layout a network trains: channels last, but for dense convolutions onto small maps on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from transferkit.models.classifier import Classifier
from transferkit.runtime.machine import Runtime

SMALL_MAP = 64  # places at most


def laid_out(classifier: Classifier, runtime: Runtime) -> Classifier:
    """The classifier on the device, in the layout that suits it; which one depends on nothing that is measured."""
    is_first = runtime.device.type == "cpu" and runtime.precision == "fp32" and works_on_small_maps(classifier)
    classifier.channels_first = is_first
    layout = torch.contiguous_format if is_first else torch.channels_last
    return classifier.to(runtime.device, memory_format=layout)  # type: ignore[call-overload, no-any-return]


@torch.no_grad()
def works_on_small_maps(classifier: Classifier) -> bool:
    """Whether most multiply-adds of convolutions are dense ones, wider than 1 x 1, onto maps of at most 8 x 8.

    For these oneDNN's fp32 kernels are slower with channels last, and for others with channels first: see
    docs/performance.md, "Channels first for small maps".
    """
    total = small = 0

    def count(module: nn.Module, _: object, maps: Tensor) -> None:
        nonlocal total, small
        assert isinstance(module, nn.Conv2d)
        places = maps.shape[-2:].numel()
        work = module.weight.numel() * places
        total += work
        small += work if places <= SMALL_MAP and module.groups == 1 and max(module.kernel_size) > 1 else 0

    hooks = [m.register_forward_hook(count) for m in classifier.body.modules() if isinstance(m, nn.Conv2d)]
    was_training, device = classifier.training, classifier.get_buffer("mean").device
    try:
        spec = classifier.input_spec
        classifier.eval().features(torch.zeros(1, len(spec.mean), spec.size, spec.size, device=device))
    finally:
        classifier.train(was_training)
        for hook in hooks:
            hook.remove()
    return 2 * small > total
