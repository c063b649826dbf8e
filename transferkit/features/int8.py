"""A network in whole numbers of 8 bits: calibrated on images, and run by ONNX Runtime on a CPU.

Static quantisation, a scale per output channel of each weight (Jacob et al., CVPR 2018, arXiv:1712.05877; Nagel et al.
2021, arXiv:2106.08295).
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from transferkit.data.images import Labels
from transferkit.features.keys import versions
from transferkit.features.layer_network import LayerNetwork
from transferkit.features.pictures import Pictures
from transferkit.runtime.console import Console
from transferkit.runtime.environment import package_version
from transferkit.runtime.errors import MachineError, TransferkitError
from transferkit.runtime.optional_libraries import require_packages
from transferkit.runtime.plurals import counted

NAME = "int8"  # of this precision
PACKAGES = ("onnx", "onnxscript", "onnxruntime")
OPSET = 20
QUANTISED = ("Conv", "MatMul", "Gemm", "Add", "Relu", "Clip", "MaxPool", "GlobalAveragePool", "AveragePool", "Concat")
IMAGES = 232  # looked at: most for the ranges of activations, which no longer move with more, the others to compare
COMPARED = 8  # one of so many is compared
BATCH = 25  # images at a time
LEAST_COSINE = 0.998  # on average, below which these features count as others


def require(device: torch.device) -> None:
    """Refuse where 8 bits cannot be had, before any work.

    Raises:
        TransferkitError: If packages are missing, or the device is no CPU.
    """
    require_packages("--precision int8", PACKAGES, "export")
    if device.type != "cpu":
        raise TransferkitError(f"--precision int8 is for CPUs, and this is {device.type}. Add --device cpu.")


def library_versions() -> dict[str, str]:
    """Of what computes features in 8 bits."""
    return {**versions(), "onnxruntime": package_version("onnxruntime")}


def spread(count: int) -> Labels:
    """Positions of at most `IMAGES` of so many images, evenly spread.

    Example:
        >>> spread(3).tolist(), len(spread(10_000))
        ([0, 1, 2], 232)
    """
    return np.unique(np.linspace(0, count - 1, IMAGES).astype(np.int64))


@torch.no_grad()
def quantise(network: LayerNetwork, pictures: Pictures, console: Console) -> None:
    """Have a network answer in 8 bits from now on; says how far its features lie from those in fp32.

    Args:
        network: In fp32, on a CPU.
        pictures: At most about `IMAGES`; every eighth is compared, the others set the ranges of activations.
        console: Hears what is done.

    Raises:
        TransferkitError: If the features would be others: their mean cosine to those in fp32 is below `LEAST_COSINE`.
        MachineError: If the network cannot be written as a graph or quantised.
    """
    if not network.is_graph:
        raise MachineError(f"{network.backbone} cannot be traced, which 8 bits need. Use another --precision.")
    rows = np.arange(len(pictures))
    compared = rows[::COMPARED]
    calibrating = np.setdiff1d(rows, compared) if len(rows) > COMPARED else rows
    console.line(f"8 bits: calibrating on {counted(len(calibrating), 'image')} ...")
    exact = [network.of_prepared(images) for images in prepared(network, pictures, compared)]
    network.use(NAME, in_8_bits(network, prepared(network, pictures, calibrating)))
    small = [network.of_prepared(images) for images in prepared(network, pictures, compared)]
    for layer in network.layers:
        require_near(layer.name, cosines(exact, small, layer.name), console)


def prepared(network: LayerNetwork, pictures: Pictures, rows: Labels) -> Iterator[Tensor]:
    """Some of the images as the network takes them, a few at a time."""
    for start in range(0, len(rows), BATCH):
        pixels = np.ascontiguousarray(pictures.take(rows[start : start + BATCH]))
        yield network.prepare(torch.from_numpy(pixels))


def cosines(exact: Sequence[dict[str, Tensor]], small: Sequence[dict[str, Tensor]], layer: str) -> Tensor:
    """(N,) between the features of a layer in two precisions."""
    pairs = zip(exact, small, strict=True)
    return torch.cat([torch.cosine_similarity(a[layer].flatten(1), b[layer].flatten(1)) for a, b in pairs])


def require_near(layer: str, cosine: Tensor, console: Console) -> None:
    """Say how near features in 8 bits are to those in fp32, and refuse those that are not.

    Raises:
        TransferkitError: Says how far they are.
    """
    mean, least = float(cosine.mean()), float(cosine.min())
    words = (
        f"cosine to fp32 {mean:.4f} on average, {least:.4f} at least ({counted(len(cosine), 'image')}, layer {layer})"
    )
    if not mean >= LEAST_COSINE:
        raise TransferkitError(
            f"8 bits change the features of this network too much: {words}; expected {LEAST_COSINE} on average. "
            "Use another --precision."
        )
    console.line(f"8 bits: {words}.")


# ---------------------------------------------------------------------------------------------------------- the graph


class _AsTuple(nn.Module):
    """The outputs of a network in the order of their modules."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.network(images).values())


def in_8_bits(network: LayerNetwork, calibration: Iterable[Tensor]) -> Callable[[Tensor], dict[str, Tensor]]:
    """What gives outputs by module of prepared images (N, C, size, size), as `network.network` does, in 8 bits.

    Raises:
        MachineError: If the network cannot be written as a graph or quantised.
    """
    chunks = [images.contiguous().numpy() for images in calibration]
    example = torch.from_numpy(chunks[0])
    modules = list(network.network(example[:1]))
    with tempfile.TemporaryDirectory(prefix="transferkit-int8-") as workshop:
        exact, small = Path(workshop) / "exact.onnx", Path(workshop) / "small.onnx"
        try:
            write_graph(network.network, example[[0, 0]], exact)
            quantise_graph(exact, small, iter([{"images": chunk} for chunk in chunks]))
        except Exception as error:  # whatever a translator may raise
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise MachineError(f"This network cannot be had in 8 bits: {reason} Use another --precision.") from error
        answering = session(small, network.runtime.threads)

    def outputs(images: Tensor) -> dict[str, Tensor]:
        arrays = answering.run(None, {"images": images.contiguous().numpy()})
        return dict(zip(modules, map(torch.from_numpy, arrays), strict=True))

    return outputs


def write_graph(network: nn.Module, images: Tensor, path: Path) -> None:
    """Write a traced network as an ONNX graph from `images`, prepared, any number of them, to its outputs."""
    batch: Any = torch.export.Dim.DYNAMIC
    with without_advice():
        program: Any = torch.onnx.export(
            _AsTuple(network).eval(),
            (images,),
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=["images"],
            dynamic_shapes=({0: batch},),
        )
        program.save(path)


def session(path: Path, threads: int) -> Any:
    """A graph ready to run on so many threads of a CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors alone
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def quantise_graph(
    exact: Path,
    path: Path,
    feeds: Iterator[dict[str, Any]],
    nodes: Callable[[Path], list[str]] | None = None,
) -> None:
    """Write the graph of `exact` in 8 bits, ranges of activations as these inputs give them.

    Args:
        exact: In fp32; a prepared form of it is left beside it.
        path: Of the result.
        feeds: Inputs by name.
        nodes: Names those that are quantised, from the prepared file; by default all that can be.
    """
    from onnxruntime import quantization

    kinds = quantization.QuantType
    ready = exact.with_name("prepared.onnx")
    with without_advice():
        quantization.shape_inference.quant_pre_process(str(exact), str(ready), skip_symbolic_shape=True)
        quantization.quantize_static(
            str(ready),
            str(path),
            _Calibration(feeds),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=kinds.QUInt8,
            weight_type=kinds.QInt8,
            op_types_to_quantize=list(QUANTISED),
            nodes_to_quantize=nodes(ready) if nodes else None,
            extra_options={"CalibMovingAverage": True},
        )


class _Calibration:
    """What onnxruntime reads inputs by; it asks until there is nothing."""

    def __init__(self, feeds: Iterator[dict[str, Any]]) -> None:
        self._feeds = feeds

    def get_next(self) -> dict[str, Any] | None:
        return next(self._feeds, None)


@contextmanager
def without_advice() -> Iterator[None]:
    """Inside, ONNX's libraries log errors alone: their advice is followed already, or is about their own passes."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
