"""A classifier's body made fast for features: cut behind the deepest layer wanted, folded, compiled where it pays."""

from __future__ import annotations

import copy
import importlib.util
import operator
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from transferkit.classifier import Classifier
from transferkit.errors import TransferkitError, did_you_mean
from transferkit.runtime import Runtime
from transferkit.screen import Screen

PENULTIMATE = "penultimate"  # the head's input
POOLS = ("avg", "max", "none", "flatten")
BODY = ""  # the name of the body among its own modules

Pool = Literal["avg", "max", "none", "flatten"]
Compile = Literal["auto", "on", "off"]

# Seconds of network time that must lie ahead before compiling can pay. ResNet-18 at 224 px compiles in about 35 s on
# two cores (benchmarks/features_cpu.py); it gains about a third in bf16 and a few percent in fp32.
COMPILE_PAYS_SECONDS = {
    ("cpu", "bf16"): 180.0,
    ("cpu", "fp32"): 900.0,
    ("cuda", "bf16"): 120.0,
    ("cuda", "fp32"): 120.0,
}
# With freezing, weights become constants that the CPU's kernels get in the layout they like.
COMPILE_OPTIONS: dict[str, dict[str, str | int | bool | Callable[..., Any]]] = {"cpu": {"freezing": True}, "cuda": {}}
LEAST_GAIN = 1.03  # a compiled network that is not this much faster is not kept
SAME = 1e-3  # largest difference, relative to the largest value, between two forms of one network in fp32
TF32_SAME = 2e-2  # the same on a GPU, where fp32 may be computed as TF32
SAME_DIRECTION = 0.9999  # least cosine between eager and compiled features of an image


@dataclass(frozen=True)
class Layer:
    """One layer as it was asked for and as it was found.

    Attributes:
        name: As it was asked for: a module, a stage, or `penultimate`.
        module: Name of the module in the body whose last output it is; empty for the body itself.
        shape: Of that output for one image, as (C, H, W), (tokens, C) or (D,).
        is_channels_last: Whether the module gives (N, H, W, C).
    """

    name: str
    module: str
    shape: tuple[int, ...]
    is_channels_last: bool = False

    def shape_after(self, pool: Pool) -> tuple[int, ...]:
        """Of the features of one image."""
        return tuple(pooled(torch.zeros(1, *self.shape), pool).shape[1:])


class LayerNetwork:
    """uint8 images in, the features of some layers out, in eval mode; the classifier it is made from stays as it is.

    The forward pass ends at the deepest layer asked for. A body that torch.fx can trace is cut there as a graph and
    its BatchNorm folded into the convolutions; another runs with forward hooks.

    Attributes:
        layers: What was asked for, in that order.
        is_graph: Whether the body could be traced.
    """

    def __init__(
        self, classifier: Classifier, layers: Sequence[str], pool: Pool, runtime: Runtime, screen: Screen
    ) -> None:
        require_pool(pool)
        self.pool, self.runtime, self.screen = pool, runtime, screen
        body = inference_copy(classifier.body, runtime.device)
        with torch.random.fork_rng(devices=[]):  # a classifier draws a head; the caller's random numbers stay his
            preparation = Classifier(nn.Identity(), 1, ("-",), {}, classifier.input_spec)
        self.preparation = preparation.to(runtime.device)
        images = example_images(classifier.input_spec.size, runtime.device)
        modules = {name: module_of(classifier, name) for name in layers}
        reference = watched(body, sorted(set(modules.values())), images)
        self.layers = tuple(found_layer(name, module, reference.outputs[module]) for name, module in modules.items())
        graph = as_graph(body, reference, images, screen)
        self.is_graph = graph is not None
        self.network = graph or HookedLayers(body, reference.calls, reference.deepest)
        self._compiled: Callable[[Tensor], dict[str, Tensor]] | None = None
        self._compiled_shape: torch.Size | None = None

    @torch.no_grad()
    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """Pooled float32 features of each layer, for images (B, 3, H, W) on the device of the runtime."""
        prepared = self.preparation.prepare(images)
        compiled = self._compiled if prepared.shape == self._compiled_shape else None
        outputs = self._run(self.network if compiled is None else compiled, prepared)
        return {
            layer.name: pooled(channels_first(outputs[layer.module].float(), layer.is_channels_last), self.pool)
            for layer in self.layers
        }

    def _run(self, network: Callable[[Tensor], dict[str, Tensor]], prepared: Tensor) -> dict[str, Tensor]:
        with self.runtime.autocast():
            return network(prepared)

    @property
    def is_compiled(self) -> bool:
        """Whether full batches run compiled."""
        return self._compiled is not None

    def compile_if_it_pays(self, images: Tensor, seconds_left: float) -> None:
        """Compile for batches like `images` if enough seconds of network time lie ahead; says what it chose."""
        device = self.runtime.device.type
        needed = COMPILE_PAYS_SECONDS.get((device, self.runtime.precision))
        if needed is not None and seconds_left >= needed:
            self.compile(images)

    @torch.no_grad()
    def compile(self, images: Tensor) -> None:
        """Compile for batches like `images`; keep the result only if it is measured to be faster and to be right."""
        if obstacle := self._obstacle_to_compiling():
            self.screen.line(f"not compiled: {obstacle}.")
            return
        prepared = self.preparation.prepare(images)
        started = time.perf_counter()
        try:
            compiled = torch.compile(self.network, dynamic=False, options=COMPILE_OPTIONS[self.runtime.device.type])
            outputs = self._run(compiled, prepared)
        except Exception as error:  # whatever a compiler may raise, the network runs without it
            reason = (str(error) or type(error).__name__).splitlines()[0]
            self.screen.line(f"not compiled: {type(error).__name__}: {reason}.")
            return
        seconds = time.perf_counter() - started
        gain = self._gain(compiled, prepared)
        is_right = all(
            same_direction(outputs[name], value) for name, value in self._run(self.network, prepared).items()
        )
        if is_right and gain >= LEAST_GAIN:
            self._compiled, self._compiled_shape = compiled, prepared.shape
        kept = "kept" if self.is_compiled else "not kept" if is_right else "not kept, its features differ"
        self.screen.line(f"compiled in {seconds:.0f} s, {gain:.2f}x as fast: {kept}.")

    def _gain(self, compiled: Callable[[Tensor], dict[str, Tensor]], prepared: Tensor, repeats: int = 3) -> float:
        """How many times faster the compiled network is; the two take turns, the best of each counts."""
        eager, fast = [], []
        for _ in range(repeats):
            eager.append(self._seconds(self.network, prepared))
            fast.append(self._seconds(compiled, prepared))
        return min(eager) / min(fast)

    def _seconds(self, network: Callable[[Tensor], dict[str, Tensor]], prepared: Tensor) -> float:
        synchronise(self.runtime.device)
        started = time.perf_counter()
        self._run(network, prepared)
        synchronise(self.runtime.device)
        return time.perf_counter() - started

    def _obstacle_to_compiling(self) -> str:
        if not self.is_graph:
            return "this network cannot be traced"
        if self.runtime.device.type not in COMPILE_OPTIONS:
            return f"no measured gain on {self.runtime.device.type}"
        if self.runtime.device.type == "cpu" and not has_cpp_compiler():
            return "there is no C++ compiler here (g++ or clang++)"
        if self.runtime.device.type == "cuda" and importlib.util.find_spec("triton") is None:
            return "triton is not installed"
        return ""


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def has_cpp_compiler() -> bool:
    """Whether torch.compile finds what it needs to make code for the CPU."""
    return any(shutil.which(name) for name in (os.environ.get("CXX") or "g++", "g++", "clang++", "c++", "cl"))


def same_direction(features: Tensor, others: Tensor) -> bool:
    """Whether two forms of the same features agree, image by image."""
    cosines = torch.cosine_similarity(features.float().flatten(1), others.float().flatten(1), eps=1e-12)
    is_zero = others.float().flatten(1).norm(dim=1) < 1e-12
    return bool(((cosines >= SAME_DIRECTION) | is_zero).all())


# ---------------------------------------------------------------------------------------------------- names of layers


def module_of(classifier: Classifier, name: str) -> str:
    """The module whose output a layer's name means: a module, the last module of a stage, or the body.

    Raises:
        TransferkitError: If there is no such layer; names the nearest ones.
    """
    if name == PENULTIMATE:
        return BODY
    modules = {module for module, _ in classifier.body.named_modules() if module}
    if name in modules:
        return name
    if name in classifier.stages:
        return [prefix for prefix in classifier.stages[name] if prefix in modules][-1]
    options = {PENULTIMATE, *classifier.stages, *modules}
    raise TransferkitError(f"Unknown layer {name!r}. {did_you_mean(name, options)} `transferkit layers` lists all.")


def found_layer(name: str, module: str, output: Any) -> Layer:
    """What a layer gives.

    Raises:
        TransferkitError: If the layer was not reached, or does not give one tensor row per image.
    """
    if output is None:
        raise TransferkitError(f"Layer {name!r} is never called in the forward pass of this network. Choose another.")
    if not isinstance(output, Tensor):
        around = module.rpartition(".")[0]
        advice = f"the layer around it, {around!r}" if around else "another"
        raise TransferkitError(f"Layer {name!r} gives a {type(output).__name__}, not a tensor. Choose {advice}.")
    if output.ndim < 2 or len(output) != EXAMPLES:
        raise TransferkitError(
            f"Layer {name!r} gives {tuple(output.shape)} for {EXAMPLES} images, which is not one row per image. "
            "Choose the layer around it."
        )
    is_last = has_channels_last(output.shape[1:])
    return Layer(name, module, tuple(channels_first(output, is_last).shape[1:]), is_last)


def has_channels_last(shape: Sequence[int]) -> bool:
    """Whether the output for one image is a map (H, W, C), as images are square; a map (C, H, W) ends in equal sides.

    Example:
        >>> has_channels_last((56, 56, 96)), has_channels_last((64, 56, 56)), has_channels_last((197, 192))
        (True, False, False)
    """
    return len(shape) == 3 and shape[0] == shape[1] != shape[2]


def channels_first(maps: Tensor, is_channels_last: bool) -> Tensor:
    """(N, C, H, W) from maps of either layout."""
    return maps.permute(0, 3, 1, 2) if is_channels_last else maps


def require_pool(pool: str) -> None:
    """Refuse an unknown pooling.

    Raises:
        TransferkitError: Lists the known ones.
    """
    if pool not in POOLS:
        raise TransferkitError(f"Unknown pool {pool!r}. {did_you_mean(pool, POOLS)}")


def pooled(features: Tensor, pool: Pool) -> Tensor:
    """Features (N, D) from maps (N, C, H, W), tokens (N, T, C) or what is (N, D) already; `none` leaves them.

    Maps are pooled over H and W, tokens over T.
    """
    if pool == "none" or features.ndim == 2:
        return features
    if pool == "flatten" or features.ndim > 4:
        return features.flatten(1)  # (N, C, H, W) -> (N, C * H * W)
    over = (2, 3) if features.ndim == 4 else (1,)
    return features.mean(over) if pool == "avg" else features.amax(over)


# ---------------------------------------------------------------------------------------------------- one watched pass

EXAMPLES = 2


@dataclass(frozen=True)
class Watched:
    """What a forward pass showed: the last output of each module, how often each was called, which finished last."""

    outputs: dict[str, Any]
    calls: dict[str, int]
    deepest: str


@torch.no_grad()
def watched(body: nn.Module, modules: Sequence[str], images: Tensor) -> Watched:
    """Run the body on some images and watch some of its modules.

    Raises:
        TransferkitError: If the body cannot take images of this size.
    """
    outputs: dict[str, Any] = dict.fromkeys(modules)
    calls: Counter[str] = Counter()
    finished: list[str] = []

    def keep(name: str, output: Any) -> None:
        outputs[name] = output.clone() if isinstance(output, Tensor) else output
        calls[name] += 1
        finished.append(name)

    with hooked(body, [name for name in modules if name != BODY], keep):
        try:
            output = body(images)
        except (RuntimeError, AssertionError, ValueError) as error:
            side = images.shape[-1]
            raise TransferkitError(
                f"This backbone cannot take images of {side} x {side} px: {error}. Try another size."
            ) from error
    if BODY in outputs:
        keep(BODY, output)
    return Watched(outputs, dict(calls), finished[-1] if finished else BODY)


@contextmanager
def hooked(body: nn.Module, modules: Sequence[str], keep: Callable[[str, Any], None]) -> Iterator[None]:
    """Inside, `keep` hears the name and the output of these modules at each call."""

    def hook(name: str) -> Callable[[nn.Module, Any, Any], None]:
        return lambda _module, _inputs, output: keep(name, output)

    handles = [body.get_submodule(name).register_forward_hook(hook(name)) for name in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def example_images(size: int, device: torch.device) -> Tensor:
    """Prepared images of noise, the same every time."""
    noise = torch.randn(EXAMPLES, 3, size, size, generator=torch.Generator().manual_seed(0))
    return noise.to(device).contiguous(memory_format=torch.channels_last)


def inference_copy(body: nn.Module, device: torch.device) -> nn.Module:
    """A copy in eval mode and channels_last on the device, without in-place layers, which would overwrite outputs."""
    copied = copy.deepcopy(body).eval().requires_grad_(False)
    for module in copied.modules():
        if getattr(module, "inplace", False) is True:
            module.inplace = False  # type: ignore[assignment]
    return copied.to(device).to(memory_format=torch.channels_last)


# ---------------------------------------------------------------------------------------------------- hooks and graphs


class _DeepEnough(Exception):
    """Ends a forward pass."""


class HookedLayers(nn.Module):
    """The last outputs of some modules, by forward hooks; the pass ends when the deepest has given its own."""

    def __init__(self, body: nn.Module, calls: Mapping[str, int], deepest: str) -> None:
        super().__init__()
        self.body, self.calls, self.deepest = body, dict(calls), deepest

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Prepared images (N, 3, size, size) to one tensor per module."""
        outputs: dict[str, Tensor] = {}
        calls: Counter[str] = Counter()

        def keep(name: str, output: Tensor) -> None:
            calls[name] += 1
            if calls[name] == self.calls[name]:
                outputs[name] = output.clone()  # what follows may change it in place
                if name == self.deepest:
                    raise _DeepEnough

        with hooked(self.body, [name for name in self.calls if name != BODY], keep):
            try:
                output = self.body(images)
            except _DeepEnough:
                return outputs
        return {**outputs, BODY: output}


def as_graph(body: nn.Module, reference: Watched, images: Tensor, screen: Screen) -> fx.GraphModule | None:
    """The body as a graph that ends at the deepest module, BatchNorm folded; None where it cannot be traced.

    The graph is kept only if it gives what the body gave.
    """
    try:
        graph = cut_graph(body, list(reference.calls))
        fold_batchnorm(graph)
        with torch.no_grad():
            outputs = graph(images)
    except Exception as error:  # tracing runs the model's own code, which may raise anything
        reason = (str(error) or type(error).__name__).splitlines()[0]
        screen.line(f"features by hooks, BatchNorm as it is: the network cannot be traced ({reason[:120]}).")
        return None
    different = [name for name, output in outputs.items() if not nearly_equal(output, reference.outputs[name])]
    if different:
        screen.line(f"features by hooks: the traced network differs at {', '.join(map(repr, different))}.")
        return None
    return graph


def nearly_equal(output: Any, reference: Tensor) -> bool:
    """Whether two fp32 outputs differ by rounding only."""
    if not isinstance(output, Tensor) or output.shape != reference.shape:
        return False
    tolerance = TF32_SAME if reference.device.type == "cuda" else SAME
    scale = float(reference.nan_to_num(0, 0, 0).abs().max())
    return torch.allclose(output, reference, rtol=0, atol=tolerance * scale + 1e-7, equal_nan=True)


class LayerTracer(fx.Tracer):
    """Symbolic tracing that remembers which node each module's last output is."""

    def __init__(self, leaves: tuple[type[nn.Module], ...], functions: tuple[Callable[..., Any], ...]) -> None:
        super().__init__(autowrap_functions=functions)
        self.leaves = leaves
        self.layer_nodes: dict[str, fx.Node] = {}

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Normalisation stays whole, so that it can be folded; so do modules that do not trace."""
        is_leaf = isinstance(m, (_BatchNorm, *self.leaves))
        return is_leaf or super().is_leaf_module(m, module_qualified_name)

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """As torch.fx does, with a note of the node."""
        output = super().call_module(m, forward, args, kwargs)
        if isinstance(output, fx.Proxy):
            self.layer_nodes[self.path_of_module(m)] = output.node
        return output


def cut_graph(body: nn.Module, modules: Sequence[str]) -> fx.GraphModule:
    """The part of a body that these modules' outputs need, as a graph that gives them by name."""
    tracer = LayerTracer(*untraceable_parts(body))
    graph = tracer.trace(body)
    end = next(node for node in graph.nodes if node.op == "output")
    nodes = {name: end.args[0] if name == BODY else tracer.layer_nodes[name] for name in modules}
    graph.erase_node(end)
    for node in graph.nodes:
        if node.target is operator.iadd:  # `maps += shortcut` would overwrite the output of the layer before
            node.target = operator.add
    remove_after(graph, [node for node in nodes.values() if isinstance(node, fx.Node)])
    graph.output(nodes)
    network = fx.GraphModule(body, graph)
    network.graph.eliminate_dead_code()
    network.delete_all_unused_submodules()
    network.recompile()
    return network.eval()


def remove_after(graph: fx.Graph, last: Sequence[fx.Node]) -> None:
    """Erase everything behind the last of some nodes, checks of shapes included, which count as used."""
    for node in reversed(list(graph.nodes)):
        if node in last:
            return
        graph.erase_node(node)


def untraceable_parts(body: nn.Module) -> tuple[tuple[type[nn.Module], ...], tuple[Callable[..., Any], ...]]:
    """Modules and functions that timm asks tracers to leave whole."""
    if not any(type(module).__module__.startswith("timm.") for module in body.modules()):
        return (), ()
    import timm.models._features_fx as timm_tracing

    menu: Any = timm_tracing
    return tuple(menu.get_notrace_modules()), tuple(menu.get_notrace_functions())


def fold_batchnorm(network: fx.GraphModule) -> int:
    """Fold each BatchNorm that follows a convolution of its own into that convolution; returns how many.

    w' = w * gamma / sqrt(var + eps), b' = (b - mean) * gamma / sqrt(var + eps) + beta: torch.nn.utils.fusion.
    """
    modules = dict(network.named_modules())
    uses = Counter(node.target for node in network.graph.nodes if node.op == "call_module")
    folded = 0
    for node in list(network.graph.nodes):
        pair = foldable_pair(node, modules, uses)
        if pair is None:
            continue
        convolution, norm = pair
        before = node.args[0]
        network.set_submodule(before.target, fuse_conv_bn_eval(convolution, norm))
        network.set_submodule(node.target, after_normalisation(norm))
        folded += 1
    network.recompile()
    return folded


def foldable_pair(
    node: fx.Node, modules: Mapping[str, nn.Module], uses: Mapping[Any, int]
) -> tuple[nn.Conv2d, _BatchNorm] | None:
    """The convolution and the BatchNorm behind it, if `node` is that BatchNorm and neither is used elsewhere."""
    before = node.args[0] if node.op == "call_module" and node.args else None
    if not isinstance(before, fx.Node) or before.op != "call_module" or len(before.users) != 1:
        return None
    norm, convolution = modules[str(node.target)], modules[str(before.target)]
    is_known = type(norm) is nn.BatchNorm2d or type(norm).__name__ == "BatchNormAct2d"
    is_single = uses[node.target] == uses[before.target] == 1
    if not (is_known and is_single and type(convolution) is nn.Conv2d and isinstance(norm, _BatchNorm)):
        return None
    return (convolution, norm) if norm.running_mean is not None else None


def after_normalisation(norm: _BatchNorm) -> nn.Module:
    """What a BatchNorm layer does besides: timm's BatchNormAct2d has dropout and activation in it."""
    if type(norm) is nn.BatchNorm2d:
        return nn.Identity()
    return nn.Sequential(norm.get_submodule("drop"), norm.get_submodule("act"))
