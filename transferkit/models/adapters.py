"""Cheap adapters: small parts of a body that are trained while the rest stays as it is, and the file of the change.

BitFit (Ben Zaken et al. 2022, arXiv:2106.10199) trains biases, others the scales and shifts of norms.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from transferkit.models.classifier import Classifier
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.files import read_tensors
from transferkit.runtime.plurals import counted

NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


@dataclass(frozen=True)
class Adapter:
    """A way to train few numbers of a body.

    Attributes:
        trains: Names of the body's tensors that may change, buffers included.
        keeps_statistics: Whether those of BatchNorm stay as they are.
    """

    trains: Callable[[nn.Module], frozenset[str]]
    keeps_statistics: bool


def biases(body: nn.Module) -> frozenset[str]:
    """All biases, those of norms included."""
    return frozenset(name for name, _ in body.named_parameters() if name.rpartition(".")[2] == "bias")


def norms(body: nn.Module) -> frozenset[str]:
    """Scales, shifts and statistics of all norms."""
    return frozenset(
        f"{prefix}.{name}"
        for prefix, module in body.named_modules()
        if isinstance(module, NORMS)
        for name in module.state_dict()
    )


ADAPTERS: dict[str, Adapter] = {
    "bias": Adapter(biases, keeps_statistics=True),
    "norm": Adapter(norms, keeps_statistics=False),
}


def adapter_of(train: str) -> Adapter | None:
    """What `bias` or `norm` means; None for `all`."""
    return ADAPTERS.get(train)


# ------------------------------------------------------------------------------------------------- the change's file


def change(before: Mapping[str, Tensor], classifier: Classifier) -> dict[str, Tensor]:
    """What an adaptation changed: tensors of the body that differ, and the whole head.

    Args:
        before: The body's tensors by name, before the training.
        classifier: After it.
    """
    tensors = {f"head.{name}": value.detach().cpu() for name, value in classifier.head.state_dict().items()}
    after = {name: value.detach().cpu() for name, value in classifier.body.state_dict().items()}
    return tensors | {f"body.{name}": now for name, now in after.items() if not torch.equal(before[name].cpu(), now)}


@torch.no_grad()
def merge(classifier: Classifier, path: Path | str) -> Classifier:
    """The classifier with the change in a file merged into its weights; changes it, and gives it back.

    Args:
        classifier: The backbone that was adapted, with the weights it had before.
        path: `adapter.safetensors` of a run.

    Raises:
        TransferkitError: If the change is of another network; names the first tensor that does not fit.
    """
    tensors, _ = read_tensors(Path(path))
    head = {name.removeprefix("head."): value for name, value in tensors.items() if name.startswith("head.")}
    classifier.set_head(head["weight"], head["bias"])
    state = classifier.state_dict()
    for name, value in tensors.items():
        if name.startswith("body.") and (name not in state or state[name].shape != value.shape):
            raise TransferkitError(
                f"{path} changes {name} of {counted(value.numel(), 'number')}, which this "
                f"{classifier.backbone or 'network'} "
                "does not have. Give the backbone that the run adapted."
            )
        if name.startswith("body."):
            state[name].copy_(value)
    return classifier
