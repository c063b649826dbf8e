"""ResNet-18 features on a CPU: transferkit's network beside the plain PyTorch loop and other libraries, in turns.

    OMP_NUM_THREADS=1 python benchmarks/features_cpu.py [--batch 1] [--weights FILE --images FOLDER] [--compile]

All arms get the same uint8 images and give features; `plain fp32`, the loop one writes first, is what they are held
against, in time (the median of pairs of turns, its interval from ranks) and by the least cosine per image. On one
thread the seconds of the process count, which other programs disturb least, on several those of the clock. OpenVINO
runs the graphs that ONNX Runtime runs; it is left out where it is not installed.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from cpu_forms.prepacked import prepacked
from speed.machine import load, setting
from speed.turns import in_turns, ratio
from torch import Tensor, nn

from transferkit.data.images import Images
from transferkit.features import int8, layer_network
from transferkit.features.layer_network import LayerNetwork
from transferkit.features.layers import PENULTIMATE
from transferkit.features.pictures import Pictures, as_pictures
from transferkit.models import backbones
from transferkit.models.classifier import Classifier
from transferkit.recipe import BackboneSettings
from transferkit.runtime import machine
from transferkit.runtime.console import Console
from transferkit.runtime.environment import package_version

Features = Callable[[], Tensor]
CALIBRATING = 64  # images for int8, besides those that are timed


def main() -> None:
    """Measure and print."""
    options = parsed()
    runtime = machine.start("cpu", "bf16", options.threads)
    classifier = network(options)
    pictures = some_images(options.images, options.batch + CALIBRATING, options.size)
    with tempfile.TemporaryDirectory() as place:
        arms = forms(classifier, pictures, options, runtime, Path(place))
        features = {name: arm() for name, arm in arms.items()}
        clock = time.process_time if runtime.threads == 1 else time.perf_counter
        seconds = in_turns(arms, options.turns, clock)
    others = ", ".join(f"{name} {package_version(name)}" for name in ("onnxruntime", "openvino"))
    print(f"{setting(runtime.threads)}, {others}, {load()}")
    print(f"ResNet-18, {options.size} px, batch {options.batch}; times as fast as plain fp32, and as bf16 before")
    plain, before = seconds["plain fp32"], seconds["bf16, weights rounded in every pass"]
    for name, taken in seconds.items():
        cosine = float(torch.cosine_similarity(features["plain fp32"], features[name]).min())
        rate = options.batch / np.median(taken)
        print(f"{name:36} {rate:6.1f} img/s  {ratio(plain, taken)}  {ratio(before, taken)}  least cosine {cosine:.5f}")


def parsed() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--turns", type=int, default=11)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--weights", default="none")
    parser.add_argument("--images", type=Path)
    parser.add_argument("--compile", action="store_true", help="torch.compile with freezing, too: a minute")
    return parser.parse_args()


def network(options: argparse.Namespace) -> Classifier:
    """ResNet-18; random weights get the BatchNorm statistics of noise."""
    torch.manual_seed(0)
    settings = BackboneSettings(name="resnet18", weights=options.weights, stem="imagenet")
    classifier = backbones.load(settings, ("-",), options.size, Console())
    if options.weights == "none":
        with torch.no_grad():
            classifier.train()(torch.rand(16, 3, options.size, options.size))
    return classifier.eval()


def some_images(folder: Path | None, count: int, size: int) -> Pictures:
    """Images of a folder, evenly spread, or noise."""
    if folder is None:
        pixels = np.random.default_rng(0).integers(0, 256, (count, 3, size, size), dtype=np.uint8)
    else:
        pictures = as_pictures(folder, size, "squash")
        pixels = pictures.take(np.linspace(0, len(pictures) - 1, count).astype(np.int64))
    return Images.from_pixels(pixels, np.zeros(count, np.int64), ("-",))


def forms(
    classifier: Classifier, pictures: Pictures, options: argparse.Namespace, runtime: machine.Runtime, place: Path
) -> dict[str, Features]:
    """What is measured, by name."""
    pixels = torch.from_numpy(pictures.take(np.arange(options.batch)))
    others = np.arange(options.batch, len(pictures))
    exact = LayerNetwork(classifier, [PENULTIMATE], "avg", replace(runtime, precision="fp32"), Console())
    fast = LayerNetwork(classifier, [PENULTIMATE], "avg", runtime, Console())
    with mock.patch.object(layer_network, "round_weights"):
        before = LayerNetwork(classifier, [PENULTIMATE], "avg", runtime, Console())
    arms = {
        "plain fp32": plain(classifier, pixels),
        "plain bf16, channels_last": eager(classifier, pixels, runtime),
        "bf16, weights rounded in every pass": lambda: before(pixels)[PENULTIMATE],
        "transferkit, bf16": lambda: fast(pixels)[PENULTIMATE],
        "oneDNN, prepacked and fused, bf16": of_prepared(fast, pixels, prepacked(exact.network, exact.prepare(pixels))),
    }
    if options.compile:
        frozen = torch.compile(fast.network, dynamic=False, options={"freezing": True})
        arms["torch.compile, frozen, bf16"] = of_prepared(fast, pixels, lambda x: autocast(runtime, frozen, x))
    large, small = place / "exact.onnx", place / "small.onnx"
    chunks = [images.contiguous().numpy() for images in int8.prepared(exact, pictures, others)]
    int8.write_graph(exact.network, torch.from_numpy(chunks[0][:2]), large)
    int8.quantise_graph(large, small, iter([{"images": chunk} for chunk in chunks]))
    for name, path in (("fp32", large), ("int8 (transferkit --precision int8)", small)):
        session = int8.session(path, runtime.threads)
        arms[f"onnxruntime, {name}"] = of_prepared(
            exact, pixels, lambda x, session=session: session.run(None, {"images": x.contiguous().numpy()})[0]
        )
    if importlib.util.find_spec("openvino"):
        for name, path, hint in (("fp32", large, "f32"), ("bf16", large, "bf16"), ("int8", small, "bf16")):
            arms[f"openvino, {name}"] = of_prepared(exact, pixels, openvino_network(path, hint, runtime.threads))
    return arms


def plain(classifier: Classifier, pixels: Tensor) -> Features:
    """What one writes first."""
    spec, body = classifier.input_spec, copy.deepcopy(classifier.body)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (spec.mean, spec.std))

    @torch.no_grad()
    def run() -> Tensor:
        features: Tensor = body((pixels.float() / 255 - mean) / std)
        return features

    return run


def eager(classifier: Classifier, pixels: Tensor, runtime: machine.Runtime) -> Features:
    """channels_last and autocast, as a careful reader of the documentation writes it."""
    network = copy.deepcopy(classifier).to(memory_format=torch.channels_last)

    @torch.no_grad()
    def run() -> Tensor:
        with runtime.autocast():
            return network.features(pixels).float()

    return run


def of_prepared(network: LayerNetwork, pixels: Tensor, answer: Callable[[Tensor], Any]) -> Features:
    """Another library's network behind our preparation."""

    @torch.inference_mode()
    def run() -> Tensor:
        output = answer(network.prepare(pixels))
        value = next(iter(output.values())) if isinstance(output, dict) else torch.as_tensor(output)
        return value.float().flatten(1)

    return run


def autocast(runtime: machine.Runtime, network: nn.Module, prepared: Tensor) -> Any:
    """A network under autocast."""
    with runtime.autocast():
        return network(prepared)


def openvino_network(path: Path, precision: str, threads: int) -> Callable[[Tensor], Any]:
    """A graph compiled by OpenVINO for one stream."""
    import openvino

    hints = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
    core = openvino.Core()
    request = core.compile_model(core.read_model(path), "CPU", hints).create_infer_request()
    return lambda prepared: request.infer([prepared.contiguous().numpy()], share_inputs=True)[0].copy()


if __name__ == "__main__":
    main()
