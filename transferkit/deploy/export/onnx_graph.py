"""The whole classifier as an ONNX graph: uint8 images of any size in, logits out, preparation included."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from transferkit.models.classifier import Classifier
from transferkit.runtime.errors import MachineError, TransferkitError
from transferkit.runtime.files import write_atomically

FILE = "model.onnx"
PACKAGES = ("onnx", "onnxscript", "onnxruntime")
OPSET = 20
CHECKED = ((2, 3, 40, 48), (3, 3, 96, 64), (1, 3, 300, 200))  # shapes (N, 3, H, W): other batches, other sides
TOLERANCE = 1e-3  # of the largest logit


def require() -> None:
    """Refuse where the extra is missing, before any work.

    Raises:
        TransferkitError: Says what to install.
    """
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise TransferkitError(
            f'ONNX needs {", ".join(missing)}, not installed here. Type: pip install "transferkit[export]"'
        )


def write(classifier: Classifier, name: str, path: Path) -> str:
    """Write the graph, and run it beside the classifier on random images of several sizes.

    The graph takes `images`, uint8 (N, 3, H, W), RGB, and gives `logits` (N, C). Class names, the side that images are
    resized to, and source and licence of the weights are in its metadata.

    Returns:
        How to use the file.

    Raises:
        TransferkitError: If the network has an operation without an equal in ONNX.
        MachineError: If the graph answers otherwise than the classifier.
    """
    program = traced(classifier, name)
    program.model.metadata_props.update(metadata(classifier, name))
    write_atomically(path, lambda temporary: program.save(temporary))
    require_equal(classifier, path)
    return (
        f"import onnxruntime\nsession = onnxruntime.InferenceSession({str(path)!r})\n"
        "logits = session.run(None, {'images': images})[0]  # images: uint8 (N, 3, H, W), RGB, of any size"
    )


def traced(classifier: Classifier, name: str) -> Any:
    """The ONNX program, with batch, height and width left open.

    Raises:
        TransferkitError: If it cannot be traced or translated.
    """
    images = torch.randint(0, 256, CHECKED[0], dtype=torch.uint8)
    free = torch.export.Dim.DYNAMIC
    try:
        return torch.onnx.export(
            classifier,
            (images,),
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes=({0: free, 2: free, 3: free},),
        )
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise TransferkitError(
            f"{name} cannot be written as ONNX: {reason} Use --to weights, or transferkit.load(RUN) in Python."
        ) from error


def metadata(classifier: Classifier, name: str) -> dict[str, str]:
    """What travels with the graph; values that are no text are JSON."""
    return {
        "backbone": name,
        "class_names": json.dumps(classifier.class_names, ensure_ascii=False),
        "input": json.dumps(asdict(classifier.input_spec)),
        "weights": json.dumps(classifier.weights.as_dict()),
    }


def require_equal(classifier: Classifier, path: Path) -> None:
    """Run the file on random images and refuse it if its logits differ.

    Raises:
        MachineError: Names the shape and the difference; the file is removed.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for shape in CHECKED:
        images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        with torch.inference_mode():
            expected = classifier(torch.from_numpy(images)).numpy()
        difference = float(np.abs(session.run(None, {"images": images})[0] - expected).max())
        if not difference <= TOLERANCE * max(1.0, float(np.abs(expected).max())):
            path.unlink()
            raise MachineError(
                f"The ONNX graph differs from the model by {difference:.2g} on images {shape}, so it was not kept. "
                "Use --to weights, and please report it."
            )
