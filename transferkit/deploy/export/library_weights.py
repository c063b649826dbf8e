"""The trained weights under the names of torchvision's or timm's own class, for programs that build it themselves."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from transferkit.deploy.export.library_lines import fixed_px, library, python_lines
from transferkit.deploy.export.source import ExportSource
from transferkit.models.backbones import TIMM
from transferkit.models.classifier import Classifier
from transferkit.models.weights import metadata_of
from transferkit.runtime.errors import MachineError, TransferkitError
from transferkit.runtime.files import write_tensors
from transferkit.runtime.json_files import JsonObject

FILE = "weights.safetensors"


def require() -> None:
    """Nothing besides the core packages is needed."""


def write(source: ExportSource, path: Path) -> tuple[str, ...]:
    """Write a state dict that the library's own class takes with `strict=True`, and load it into one to see that.

    Returns:
        Nothing that a user must know besides.

    Raises:
        TransferkitError: If the network is of neither library, or was changed so that its class no longer fits.
        MachineError: If the library's network, with these weights, answers otherwise than the classifier.
    """
    classifier, name = source.classifier, source.name
    twin, tensors = twin_of(source)
    input_spec = classifier.input_spec
    facts: JsonObject = {"backbone": name, "class_names": list(classifier.class_names), "input": asdict(input_spec)}
    origin = {"weights": classifier.weights.as_dict(), **metadata_of(input_spec, classifier.weights)}
    write_tensors(path, tensors, {**facts, **origin})
    twin.load_state_dict(load_file(path))
    require_equal(classifier, twin.eval(), path)
    return ()


def usage(source: ExportSource, path: Path) -> str:
    """Lines of Python that load the file into the library's own class and ask it about an image."""
    return python_lines(source, f"file = {json.dumps(str(path))}")


def twin_of(source: ExportSource) -> tuple[nn.Module, dict[str, Tensor]]:
    """The library's own network, with random weights, and the trained tensors under its names.

    Raises:
        TransferkitError: If the network is of neither library, or was changed so that its class no longer fits.
    """
    classifier, name = source.classifier, source.name
    if classifier.last_stages > 1:
        raise TransferkitError(
            f"This {name} answers from its last {classifier.last_stages} stages side by side, and "
            f"{library(name)}'s class from the last one. Use --to onnx."
        )
    if not isinstance(classifier.head, nn.Linear):
        raise TransferkitError(
            f"The head of this {name} is no linear layer, and {library(name)}'s class has one. Use --to onnx."
        )
    twin = built(name, len(classifier.class_names), classifier.input_spec.size)
    return twin, state_dict(classifier, twin, name)


def built(name: str, num_classes: int, size: int) -> nn.Module:
    """The library's own network, with random weights."""
    network: nn.Module
    if library(name) == "timm":
        from transferkit.runtime.timm_import import timm

        network = timm.create_model(name.removeprefix(TIMM), num_classes=num_classes, img_size=fixed_px(name, size))
    else:
        from transferkit.runtime.torchvision_import import models

        network = models.get_model(name, weights=None, num_classes=num_classes)
    return network


def state_dict(classifier: Classifier, twin: nn.Module, name: str) -> dict[str, Tensor]:
    """The body's tensors, and the head's under the names of the twin's last layer.

    Raises:
        TransferkitError: If names or shapes differ from the twin's, as with a stem for small images.
    """
    expected = {key: tuple(value.shape) for key, value in twin.state_dict().items()}
    tensors = dict(classifier.body.state_dict())
    head = classifier.head.state_dict()
    layer = head_name(twin, head["weight"].shape, tensors)
    tensors |= {f"{layer}.{key}": value for key, value in head.items()}
    given = {key: tuple(value.shape) for key, value in tensors.items()}
    differing = sorted(key for key in expected.keys() | given.keys() if expected.get(key) != given.get(key))
    if differing:
        raise TransferkitError(
            f"This {name} is not built as {library(name)}'s: {differing[0]} is {given.get(differing[0], 'missing')}, "
            f"there {expected.get(differing[0], 'missing')} ({len(differing)} differ; a stem for small images does "
            "that). Use --to onnx."
        )
    return tensors


def head_name(twin: nn.Module, shape: torch.Size, body: dict[str, Tensor]) -> str:
    """The name of the twin's classification layer: the last linear one of that shape that the body does not hold."""
    names = [
        key
        for key, module in twin.named_modules()
        if isinstance(module, nn.Linear) and module.weight.shape == shape and f"{key}.weight" not in body
    ]
    return names[-1] if names else "head"


def require_equal(classifier: Classifier, twin: nn.Module, path: Path) -> None:
    """Refuse the file if the library's network, which holds it, answers otherwise.

    Raises:
        MachineError: Says by how much; the file is removed.
    """
    images = torch.randint(0, 256, (2, 3, 48, 40), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = classifier.logits(classifier.body(classifier.prepare(images)))
        difference = float((twin(classifier.prepare(images)) - expected).abs().max())
    if not difference <= 1e-3 * max(1.0, float(expected.abs().max())):
        path.unlink()
        raise MachineError(
            f"The library's network differs from the model by {difference:.2g}, so {path.name} was not kept. "
            "Use --to onnx, and please report it."
        )
