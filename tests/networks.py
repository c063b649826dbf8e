"""Networks as after training, and images, for tests of features."""

from __future__ import annotations

import torch
from torch import nn

from transferkit.models.classifier import Classifier
from transferkit.models.stored_model import InputSpec
from transferkit.runtime.machine import Runtime

CPU = Runtime(torch.device("cpu"), "fp32", 2)


def classifier_of(body: nn.Module, size: int) -> Classifier:
    spec = InputSpec(size, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    stages = {"all": tuple(name for name, _ in body.named_children())}
    return Classifier(body, 1, ("-",), stages, spec).eval()


def batch(count: int, side: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, side, side), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
