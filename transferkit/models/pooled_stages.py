"""A body whose features are those of its last stages side by side, each averaged over its map."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from transferkit.models.classifier import Classifier
from transferkit.runtime.errors import TransferkitError

MOST_STAGES = 3
PREFIX = "network"  # of the names of the modules inside


class PooledStages(nn.Module):
    """Prepared images to features (N, D): those of some modules, averaged over maps or tokens, then the network's own.

    Attributes:
        network: The body as it was.
        modules_read: Names of its modules, in the order in which they are called, each once.
        axes: Of each module's output, over which it is averaged; none where it is (N, D) already.
    """

    def __init__(self, network: nn.Module, modules_read: Sequence[str], axes: Sequence[tuple[int, ...]]) -> None:
        super().__init__()
        self.network, self.modules_read, self.axes = network, tuple(modules_read), tuple(axes)

    def forward(self, images: Tensor) -> Tensor:
        outputs, last = outputs_of_modules(self.network, self.modules_read, images)
        averages = [output.mean(axes) if axes else output for output, axes in zip(outputs, self.axes, strict=True)]
        return torch.cat([*averages, last], 1)

    def extra_repr(self) -> str:
        return f"modules_read={self.modules_read}"


def network_of(body: nn.Module) -> nn.Module:
    """The network alone, whose features are those of its last stage."""
    return body.network if isinstance(body, PooledStages) else body


def outputs_of_modules(network: nn.Module, names: Sequence[str], images: Tensor) -> tuple[list[Tensor], Tensor]:
    """What some modules give for images, and what the network gives."""
    outputs: list[Tensor] = []
    handles = [
        network.get_submodule(name).register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
        for name in names
    ]
    try:
        last = network(images)
    finally:
        for handle in handles:
            handle.remove()
    return outputs, last


def stages_read(classifier: Classifier, number: int) -> list[str]:
    """The stages before the last one that come in where the last `number` are read.

    Raises:
        TransferkitError: If the backbone has fewer.
    """
    stages = list(classifier.stages)
    if number > max(1, len(stages)):
        raise TransferkitError(
            f"last_stages {number} needs a backbone of as many stages; this {classifier.backbone or 'network'} has "
            f"{len(stages)} ({', '.join(stages) or 'none'}). Use --last-stages {max(1, len(stages))}."
        )
    return stages[len(stages) - number : len(stages) - 1]


@torch.no_grad()
def read_last_stages(classifier: Classifier, number: int) -> None:
    """Change a classifier so that its features are those of its last stages side by side; its head is a new one.

    Raises:
        TransferkitError: If it has fewer stages, or one of them gives no tensor.
    """
    if number == 1:
        return
    names = [last_module(classifier, stage) for stage in stages_read(classifier, number)]
    was_training, body, spec = classifier.body.training, classifier.body.eval(), classifier.input_spec
    device = classifier.get_buffer("mean").device
    outputs, last = outputs_of_modules(body, names, torch.zeros(2, len(spec.mean), spec.size, spec.size, device=device))
    body.train(was_training)
    if len(outputs) != len(names) or not all(isinstance(output, Tensor) for output in outputs):
        raise TransferkitError("The stages before the last one do not give one tensor each. Use --last-stages 1.")
    axes = [averaged_axes(tuple(output.shape)) for output in outputs]
    widths = [
        output.mean(over).shape[1] if over else output.shape[1] for output, over in zip(outputs, axes, strict=True)
    ]
    classifier.body = PooledStages(body, names, axes)
    classifier.last_stages = number
    classifier.num_features = sum(widths) + last.shape[1]
    classifier.head = nn.Linear(classifier.num_features, len(classifier.class_names), device=device)
    _rename(classifier)


def _rename(classifier: Classifier) -> None:
    """The body's parameters have longer names now."""
    classifier.stages = {
        stage: tuple(f"{PREFIX}.{prefix}" for prefix in prefixes) for stage, prefixes in classifier.stages.items()
    }
    classifier.layer_numbers = {f"{PREFIX}.{name}": number for name, number in classifier.layer_numbers.items()}
    classifier.undecayed = frozenset(f"{PREFIX}.{name}" for name in classifier.undecayed)


def last_module(classifier: Classifier, stage: str) -> str:
    """The last of the modules that a stage consists of."""
    modules = {name for name, _ in classifier.body.named_modules()}
    return [prefix for prefix in classifier.stages[stage] if prefix in modules][-1]


def averaged_axes(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The axes of maps or tokens, from the shape of an output with the batch first.

    Example:
        >>> averaged_axes((2, 64, 7, 7)), averaged_axes((2, 7, 7, 96))
        ((2, 3), (1, 2))
        >>> averaged_axes((2, 197, 192)), averaged_axes((2, 64))
        ((1,), ())
    """
    if len(shape) == 4:
        return (1, 2) if has_channels_last(shape[1:]) else (2, 3)
    return tuple(range(1, len(shape) - 1))


def has_channels_last(shape: Sequence[int]) -> bool:
    """Whether the output for one image is a map (H, W, C), as images are square; a map (C, H, W) ends in equal sides.

    Example:
        >>> has_channels_last((56, 56, 96)), has_channels_last((64, 56, 56)), has_channels_last((197, 192))
        (True, False, False)
    """
    return len(shape) == 3 and shape[0] == shape[1] != shape[2]
