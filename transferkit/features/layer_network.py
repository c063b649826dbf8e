"""A classifier's body made fast for features: cut behind the deepest layer wanted, folded, compiled where it pays."""

from __future__ import annotations

import importlib.util
import math
import os
import shutil
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from transferkit.features.graphs import as_graph
from transferkit.features.hooks import HookedLayers, example_images, inference_copy, watched
from transferkit.features.layers import Pool, channels_first, found_layer, module_of, pooled, require_pool
from transferkit.models.classifier import Classifier
from transferkit.runtime.console import Console
from transferkit.runtime.machine import Runtime

Compile = Literal["auto", "on", "off"]
Outputs = Callable[[Tensor], dict[str, Tensor]]  # prepared images to the outputs of modules, by name
# Seconds of network time that must lie ahead before compiling can pay: in fp32 alone, see `LayerNetwork`. ResNet-18 at
# 224 px compiles in about 35 s on two cores (benchmarks/features_cpu.py) and gains a few percent.
COMPILE_PAYS_SECONDS = {"cpu": 900.0, "cuda": 120.0}
# With freezing, weights become constants that the CPU's kernels get in the layout they like.
COMPILE_OPTIONS: dict[str, dict[str, str | int | bool | Callable[..., Any]]] = {"cpu": {"freezing": True}, "cuda": {}}
LEAST_GAIN = 1.03  # a compiled network that is not this much faster is not kept
SAME = 1e-5  # largest difference between eager and compiled features, relative to the largest feature
FEWEST_IMAGES = 2  # in a rounded forward pass: for a single one, libraries take other kernels, which round otherwise


class LayerNetwork:
    """uint8 images in, the features of some layers out, in eval mode; the classifier it is made from stays as it is.

    The forward pass ends at the deepest layer asked for. A body that torch.fx can trace is cut there as a graph and
    its BatchNorm folded into the convolutions; another runs with forward hooks. This one form serves every command, so
    that in one precision all agree to 1e-5 of the largest feature, whatever the batch size. In bf16, where each layer
    rounds to 8 bits, that takes the same kernels: a single image passes with a copy of itself, and nothing is compiled,
    since a compiler fuses layers and leaves out their rounding (5e-3 for ResNet-18).

    Attributes:
        layers: What was asked for, in that order.
        backbone: The network's name.
        side_px: Of the prepared images.
        is_graph: Whether the body could be traced.
        precision: In which it answers: that of the runtime, unless another form was put in its place.
    """

    def __init__(
        self, classifier: Classifier, layers: Sequence[str], pool: Pool, runtime: Runtime, console: Console
    ) -> None:
        require_pool(pool)
        self.pool, self.runtime, self.console = pool, runtime, console
        self.backbone, self.side_px = classifier.backbone, classifier.input_spec.size
        body = inference_copy(classifier.body, runtime.device)
        with torch.random.fork_rng(devices=[]):  # a classifier draws a head; the caller's random numbers stay his
            preparation = Classifier(nn.Identity(), 1, ("-",), {}, classifier.input_spec)
        self.preparation = preparation.to(runtime.device)
        images = example_images(classifier.input_spec.size, runtime.device, len(classifier.input_spec.mean))
        modules = {name: module_of(classifier, name) for name in layers}
        reference = watched(body, sorted(set(modules.values())), images)
        self.layers = tuple(found_layer(name, module, reference.outputs[module]) for name, module in modules.items())
        graph = as_graph(body, reference, images, console)
        self.is_graph = graph is not None
        self.network = graph or HookedLayers(body, reference.calls, reference.deepest)
        if runtime.precision == "bf16":
            round_weights(self.network)
        self.precision: str = runtime.precision
        self._other: Outputs | None = None
        self._compiled: Outputs | None = None
        self._compiled_shape: torch.Size | None = None

    @torch.no_grad()
    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """Pooled float32 features of each layer, for images (B, 3, H, W) on the device of the runtime."""
        return self.of_prepared(self.prepare(images))

    def prepare(self, images: Tensor) -> Tensor:
        """Resized and normalised images, as the classifier prepares them."""
        return self.preparation.prepare(images)

    @torch.no_grad()
    def of_prepared(self, prepared: Tensor) -> dict[str, Tensor]:
        """The same, for images (B, 3, size, size) that are prepared already."""
        is_rounded = self.precision != "fp32"
        outputs = self._run(self._form_for(prepared), enough_images(prepared) if is_rounded else prepared)
        return {
            layer.name: pooled(channels_first(outputs[layer.module].float(), layer.is_channels_last), self.pool)[
                : len(prepared)
            ]
            for layer in self.layers
        }

    def _form_for(self, prepared: Tensor) -> Outputs:
        if self._other is not None:
            return self._other
        if self._compiled is not None and prepared.shape == self._compiled_shape:
            return self._compiled
        return self.network

    def use(self, precision: str, other: Outputs) -> None:
        """From now on have another form of the network answer, which computes in another precision."""
        self.precision, self._other = precision, other

    def _run(self, network: Outputs, prepared: Tensor) -> dict[str, Tensor]:
        with self.runtime.autocast():
            return network(prepared)

    @property
    def is_compiled(self) -> bool:
        """Whether full batches run compiled."""
        return self._compiled is not None

    def compile_if_it_pays(self, images: Tensor, seconds_left: float) -> None:
        """Compile for batches like `images` if enough seconds of network time lie ahead; says what it chose."""
        device = self.runtime.device.type
        if self.precision == "fp32" and seconds_left >= COMPILE_PAYS_SECONDS.get(device, math.inf):
            self.compile(images)

    @torch.no_grad()
    def compile(self, images: Tensor) -> None:
        """Compile for batches like `images`; keep the result only if it is measured to be faster and to be right."""
        if obstacle := self._obstacle_to_compiling():
            self.console.line(f"not compiled: {obstacle}.")
            return
        prepared = self.prepare(images)
        started = time.perf_counter()
        try:
            compiled = torch.compile(self.network, dynamic=False, options=COMPILE_OPTIONS[self.runtime.device.type])
            outputs = self._run(compiled, prepared)
        except Exception as error:  # whatever a compiler may raise, the network runs without it
            reason = (str(error) or type(error).__name__).splitlines()[0]
            self.console.line(f"not compiled: {type(error).__name__}: {reason}.")
            return
        seconds = time.perf_counter() - started
        gain = self._gain(compiled, prepared)
        is_right = all(agree(outputs[name], value) for name, value in self._run(self.network, prepared).items())
        if is_right and gain >= LEAST_GAIN:
            self._compiled, self._compiled_shape = compiled, prepared.shape
        outcome = "kept" if self.is_compiled else "not kept" if is_right else "not kept, its features differ"
        self.console.line(f"compiled in {seconds:.0f} s, {gain:.2f}x as fast: {outcome}.")

    def _gain(self, compiled: Outputs, prepared: Tensor, repeats: int = 3) -> float:
        """How many times faster the compiled network is; the two take turns, the best of each counts."""
        eager, fast = [], []
        for _ in range(repeats):
            eager.append(self._seconds(self.network, prepared))
            fast.append(self._seconds(compiled, prepared))
        return min(eager) / min(fast)

    def _seconds(self, network: Outputs, prepared: Tensor) -> float:
        synchronise(self.runtime.device)
        started = time.perf_counter()
        self._run(network, prepared)
        synchronise(self.runtime.device)
        return time.perf_counter() - started

    def _obstacle_to_compiling(self) -> str:
        if self.precision not in ("fp32", "bf16"):
            return f"in {self.precision} another library runs the network"
        if self.precision == "bf16":
            return "in bf16 a compiled network rounds otherwise than all other passes; use --precision fp32"
        if not self.is_graph:
            return "this network cannot be traced"
        if self.runtime.device.type not in COMPILE_OPTIONS:
            return f"no measured gain on {self.runtime.device.type}"
        if self.runtime.device.type == "cpu" and not has_cpp_compiler():
            return "there is no C++ compiler here (g++ or clang++)"
        if self.runtime.device.type == "cuda" and importlib.util.find_spec("triton") is None:
            return "triton is not installed"
        return ""


def round_weights(network: nn.Module) -> None:
    """Change the weights of convolutions and linear layers to bf16, as autocast would round them in every pass anew.

    The features stay the same to the bit. A single image of ResNet-18 at 224 px passes 1.1 times as fast.
    """
    for module in network.modules():
        if type(module) in (nn.Conv2d, nn.Linear):  # other kinds may do more with their weights than multiply
            for name, values in module.named_parameters(recurse=False):
                setattr(module, name, nn.Parameter(values.bfloat16(), requires_grad=False))


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def has_cpp_compiler() -> bool:
    """Whether torch.compile finds what it needs to make code for the CPU."""
    return any(shutil.which(name) for name in (os.environ.get("CXX") or "g++", "g++", "clang++", "c++", "cl"))


def agree(features: Tensor, others: Tensor) -> bool:
    """Whether two forms of the same features differ by the rounding of fp32 alone."""
    return float((features - others).abs().max()) <= SAME * float(others.abs().max())


def enough_images(prepared: Tensor) -> Tensor:
    """The images, the last one repeated where there are fewer than `FEWEST_IMAGES`.

    Example:
        >>> enough_images(torch.zeros(1, 3, 8, 8)).shape, enough_images(torch.zeros(5, 3, 8, 8)).shape
        (torch.Size([2, 3, 8, 8]), torch.Size([5, 3, 8, 8]))
    """
    missing = FEWEST_IMAGES - len(prepared)
    return torch.cat([prepared, prepared[-1:].expand(missing, -1, -1, -1)]) if missing > 0 else prepared
