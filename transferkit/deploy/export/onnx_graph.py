"""The whole classifier as an ONNX graph: uint8 images of any size in, answers out, preparation included."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from transferkit.data.images import Pixels
from transferkit.deploy.export.answering import (
    OUTPUTS,
    Answering,
    answer_lines,
    answering_of,
    dynamic_shapes,
    require_equal,
    traced,
)
from transferkit.deploy.export.source import ExportSource
from transferkit.features.int8 import OPSET, PACKAGES, without_advice
from transferkit.models.classifier import Classifier
from transferkit.runtime.files import write_atomically
from transferkit.runtime.optional_libraries import require_packages

FILE = "model.onnx"
NEEDS = ("onnxruntime",)  # where the file runs


def require() -> None:
    """Refuse where the extra is missing, before any work.

    Raises:
        TransferkitError: Says what to install.
    """
    require_packages("ONNX", PACKAGES, "export")


def write(source: ExportSource, path: Path) -> tuple[str, ...]:
    """Write the graph, and run it beside the classifier on random images of several sizes.

    The graph takes `images`, uint8 (N, 3, H, W), RGB, and gives `answering.OUTPUTS`. Class names, the side that images
    are resized to, and source and licence of the weights are in its metadata.

    Returns:
        Nothing that a user must know besides.

    Raises:
        TransferkitError: If the network has an operation without an equal in ONNX.
        MachineError: If the graph answers otherwise than the classifier.
    """
    draft(source, path)
    require_equal(answering_of(source), answers_of(path), "ONNX graph")
    return ()


def draft(source: ExportSource, path: Path) -> None:
    """Write the graph, and do not ask it.

    Raises:
        TransferkitError: If the network has an operation without an equal in ONNX.
    """
    program = traced(source, "ONNX", _translated)
    program.model.metadata_props.update(metadata(source.classifier, source.name))
    write_atomically(path, lambda temporary: program.save(temporary))


def usage(source: ExportSource, path: Path) -> str:
    """How to use the file."""
    session = f"import onnxruntime\nsession = onnxruntime.InferenceSession({str(path)!r})"
    call = "session.run(None, {'images': images})"
    return f"{session}\n{answer_lines(source, call)}"


def _translated(model: Answering, images: tuple[Tensor]) -> Any:
    with without_advice():
        return torch.onnx.export(
            model,
            images,
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=["images"],
            output_names=list(OUTPUTS),
            dynamic_shapes=dynamic_shapes(),
        )


def metadata(classifier: Classifier, name: str) -> dict[str, str]:
    """What travels with the graph; values that are no text are JSON."""
    return {
        "backbone": name,
        "class_names": json.dumps(classifier.class_names, ensure_ascii=False),
        "input": json.dumps(asdict(classifier.input_spec)),
        "weights": json.dumps(classifier.weights.as_dict()),
    }


def answers_of(path: Path, threads: int = 0) -> Callable[[Pixels], Sequence[Any]]:
    """The file as a function of images (N, 3, H, W), on the CPU, on so many threads; 0 lets the library choose."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors alone
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = list(OUTPUTS)
    return lambda images: list(session.run(names, {"images": images}))
