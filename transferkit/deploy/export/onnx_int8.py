"""The ONNX graph in whole numbers of 8 bits: calibrated on training images, its loss measured on val.

Quantised as in `features.int8`, and only the body: preparing images, the head, and the distance to training images stay
in fp32.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from transferkit.data.images import Images, Pixels
from transferkit.deploy.export import onnx_graph
from transferkit.deploy.export.accuracy_loss import AccuracyLoss, in_words, measure_loss
from transferkit.deploy.export.answering import reason_of
from transferkit.deploy.export.source import ExportSource
from transferkit.deploy.export.turns import images_per_second
from transferkit.features.int8 import BATCH, quantise_graph
from transferkit.runs.own_images import same_images, why_no_val
from transferkit.runtime.console import Console
from transferkit.runtime.errors import MachineError, TransferkitError
from transferkit.runtime.files import write_atomically

FILE = onnx_graph.FILE
NEEDS = onnx_graph.NEEDS
CALIBRATION = 200  # training images; the ranges of activations no longer move with more
VAL = 5_000  # images on which the loss is measured, at most
MOST_LOST = 0.01  # end of the interval of the loss, in accuracy, above which the file is refused
TIMED = 32  # images of a batch by which the two graphs are timed

require, usage, answers_of = onnx_graph.require, onnx_graph.usage, onnx_graph.answers_of


def write(source: ExportSource, path: Path) -> tuple[str, ...]:
    """Write the graph with fp32 weights, quantise it, and measure what that costs.

    Returns:
        What it costs in accuracy, and how fast it is here.

    Raises:
        TransferkitError: If it may cost more than a point, or there are no val images to measure that on, and
            `source.allow_loss` does not say that this is wanted; or if the run's images changed.
        MachineError: If the network cannot be quantised.
    """
    splits = same_images(source.run, source.console)
    with tempfile.TemporaryDirectory(prefix="transferkit-int8-") as workshop:
        exact = Path(workshop) / "exact.onnx"
        onnx_graph.write(source, exact)
        _calibrate(exact, path, splits.train, source.console)
        graphs = onnx_graph.answers_of(exact), onnx_graph.answers_of(path)
        loss = loss_on_val(splits.val, *graphs)
        require_small(loss, allowed=source.allow_loss)
        learnt = why_no_val(source.run, splits) if loss else ""
        return in_words(loss, learnt), speed_words(*graphs, splits.train.spread(TIMED).pixels)


def draft(source: ExportSource, path: Path) -> None:
    """Write the graph and quantise it, whatever that costs.

    Raises:
        TransferkitError: If the network has an operation without an equal in ONNX, or the run's images changed.
        MachineError: If the network cannot be quantised.
    """
    train = same_images(source.run, source.console).train
    with tempfile.TemporaryDirectory(prefix="transferkit-int8-") as workshop:
        exact = Path(workshop) / "exact.onnx"
        onnx_graph.draft(source, exact)
        _calibrate(exact, path, train, source.console)


def _calibrate(exact: Path, path: Path, train: Images, console: Console) -> None:
    console.line(f"Calibrating on {min(CALIBRATION, len(train))} training images ...")
    write_atomically(path, lambda temporary: quantise(exact, temporary, train.spread(CALIBRATION)))


def loss_on_val(val: Images, exact: Callable[..., Any], small: Callable[..., Any]) -> AccuracyLoss | None:
    """What 8 bits cost on val; None without val images."""
    images = val.spread(VAL)
    return measure_loss(images, exact, small) if len(images) else None


def require_small(loss: AccuracyLoss | None, *, allowed: bool) -> None:
    """Refuse what may cost more than a point of accuracy.

    Raises:
        TransferkitError: Says how much, and how to keep it all the same.
    """
    if allowed or (loss is not None and loss.interval.high <= MOST_LOST):
        return
    if loss is None:
        raise TransferkitError(
            "The run has no val images, so that nobody knows what 8 bits cost; nothing was written. Keep them all the "
            "same with --allow-loss, or use --to onnx."
        )
    raise TransferkitError(
        f"{in_words(loss, '')} More than {100 * MOST_LOST:.0f} point is possible, so nothing was written. Keep it all "
        "the same with --allow-loss, or use --to onnx."
    )


def speed_words(exact: Callable[..., Any], small: Callable[..., Any], images: Pixels) -> str:
    """How much faster the quantised graph is on this machine, in turns with the other."""
    rates = images_per_second({"exact": exact, "small": small}, images)
    gain = rates["small"] / rates["exact"]
    if gain < 1.05:
        return (
            f"on this machine 8 bits are no faster than fp32 ({gain:.2f} times as fast, batches of {len(images)}): it "
            "has no fast units for them. Use --to onnx here."
        )
    return f"on this machine {gain:.1f} times as fast as --to onnx (batches of {len(images)}, in turns)"


# ------------------------------------------------------------------------------------------------------ quantising


def quantise(exact: Path, path: Path, images: Images) -> None:
    """Write the graph of `exact` with its body in 8 bits, ranges as these images have them.

    Raises:
        MachineError: If the library cannot.
    """
    try:
        feeds = ({"images": np.ascontiguousarray(chunk)} for chunk in images.chunks(BATCH))
        quantise_graph(exact, path, feeds, body_nodes)
    except Exception as error:
        raise MachineError(f"The graph cannot be quantised: {reason_of(error)} Use --to onnx.") from error


def body_nodes(path: Path) -> list[str]:
    """The nodes between prepared images and features: what the first convolution or product needs is preparation."""
    import onnx

    nodes = list(onnx.load(path, load_external_data=False).graph.node)
    to_features = _needed(nodes, ["features"])
    first = next(node for node in nodes if node.op_type in ("Conv", "MatMul", "Gemm") and node.name in to_features)
    return sorted(to_features - _needed(nodes, list(first.input)))


def _needed(nodes: Sequence[Any], tensors: Sequence[str]) -> set[str]:
    """Names of the nodes that these tensors are computed by; nodes stand in the order of computation."""
    wanted, names = set(tensors), set()
    for node in reversed(nodes):
        if wanted & set(node.output):
            wanted |= set(node.input)
            names.add(node.name)
    return names
