"""What each layer of a network sees and costs: shape, receptive field, stride, parameters, operations."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, fx, nn
from torch.func import functional_call
from torch.fx.passes.shape_prop import ShapeProp, TensorMetadata
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from transferkit.models.bands import bands_of
from transferkit.models.classifier import Classifier
from transferkit.models.measured_fields import measured_fields
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.torch_compiler import compiler_left_out


@dataclass(frozen=True)
class LayerFacts:
    """One extractable layer.

    Attributes:
        name: The module's name in the body; `head` is the classification layer.
        kind: Its class.
        shape: Of its output for one image, without the batch.
        receptive_field: Side in px of the square of the input that one output value can depend on, before it is cut at
            the image's border; the maximum over all paths. `global` from the first layer that looks everywhere
            (pooling to one value, attention). Where kernels and strides do not tell it (attention in windows, token
            mixing, networks that cannot be traced) it is measured near the middle, and `global` once it reaches both
            borders. Statistics of normalisation layers are not counted. None where a layer does not see the image.
        stride: Input px between neighbouring output values; None where there are no neighbours or they are not known.
        parameters: Of the layer and everything in it.
        flops: Operations for one image, two per multiply-add, of convolutions, linear layers and attention.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    receptive_field: int | Literal["global"] | None
    stride: int | None
    parameters: int
    flops: int


def layers(network: Classifier | nn.Module, size: int) -> list[LayerFacts]:
    """The facts of every module that gives a tensor, in the order in which they finish.

    Args:
        network: A classifier, or a body that takes images (N, 3, size, size).
        size: Side of the images in px.

    Raises:
        TransferkitError: If the network cannot take images of this size.
    """
    body = network.body if isinstance(network, Classifier) else network
    was_training = body.training
    body.eval()
    try:
        facts = _body_layers(body, size)
    finally:
        body.train(was_training)
    return [*facts, *([_head_facts(network)] if isinstance(network, Classifier) else [])]


def _body_layers(body: nn.Module, size: int) -> list[LayerFacts]:
    shapes, flops = measured(body, size)
    fields = receptive_fields(body, size)
    by_experiment = measured_fields(body, size, [name for name in shapes if fields.get(name) is None])
    modules = dict(body.named_modules())
    return [
        LayerFacts(
            name=name,
            kind=type(modules[name]).__name__,
            shape=shape,
            receptive_field=field_px(fields.get(name)) or by_experiment.get(name),
            stride=stride_px(fields.get(name)),
            parameters=sum(parameter.numel() for parameter in modules[name].parameters()),
            flops=flops.get(name, 0),
        )
        for name, shape in shapes.items()
    ]


def _head_facts(classifier: Classifier) -> LayerFacts:
    parameters = sum(parameter.numel() for parameter in classifier.head.parameters())
    flops = 2 * classifier.num_features * len(classifier.class_names)
    shape = (len(classifier.class_names),)
    return LayerFacts("head", type(classifier.head).__name__, shape, "global", None, parameters, flops)


# ------------------------------------------------------------------------------------------ shapes and operations


def measured(body: nn.Module, size: int) -> tuple[dict[str, tuple[int, ...]], dict[str, int]]:
    """Output shape and operations of each module, by one forward pass of one image.

    Raises:
        TransferkitError: If the network cannot take images of this size.
    """
    shapes: dict[str, tuple[int, ...]] = {}

    def keep(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                shapes.pop(name, None)  # a module that is called again counts where it is called last
                shapes[name] = tuple(output.shape[1:])

        return hook

    handles = [module.register_forward_hook(keep(name)) for name, module in body.named_modules() if name]
    try:
        counter = counted(body, size)
    except (RuntimeError, AssertionError, ValueError) as error:
        raise TransferkitError(f"This network cannot take images of {size} x {size} px: {error}.") from error
    finally:
        for handle in handles:
            handle.remove()
    counts = {name.partition(".")[2]: sum(kinds.values()) for name, kinds in counter.get_flop_counts().items()}
    return shapes, {name: int(count) for name, count in counts.items() if name}


def total_flops(body: nn.Module, size: int) -> int:
    """Operations of a body for one image, two per multiply-add, of convolutions, linear layers and attention."""
    return int(counted(body, size).get_total_flops())


def attention_flops(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    """Operations of attention on a CPU, from the shapes; torch's counter knows it on GPUs alone."""
    return int(sdpa_flop_count(query, key, value))  # type: ignore[no-untyped-call]


CPU_ATTENTION = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention_flops}


@torch.no_grad()
def counted(body: nn.Module, size: int) -> FlopCounterMode:
    """The operations of a forward pass of one image, by module.

    The pass runs on detached parameters: the counter asks every module's inputs for their gradient function, and a
    view of a parameter (a class token, expanded to the batch) has none while gradients are off.
    """
    tensors = {name: value.detach() for name, value in (*body.named_parameters(), *body.named_buffers())}
    device = next((value.device for value in tensors.values()), torch.device("cpu"))
    counter: FlopCounterMode
    with compiler_left_out(), FlopCounterMode(display=False, custom_mapping=CPU_ATTENTION) as counter:
        functional_call(body, tensors, (torch.zeros(1, bands_of(body), size, size, device=device),))
    return counter


# ----------------------------------------------------------------------------------------------- receptive fields


@dataclass(frozen=True)
class Axis:
    """Along one axis of the image, in px: how much one value sees, and how far apart neighbours look."""

    field: int
    stride: int | None  # None where neighbours are not a whole number of px apart


Field = tuple[Axis, Axis] | Literal["global"] | None  # None: not known
PIXEL: Field = (Axis(1, 1), Axis(1, 1))


def field_px(field: Field) -> int | Literal["global"] | None:
    """The longer side of a receptive field."""
    return max(axis.field for axis in field) if isinstance(field, tuple) else field


def stride_px(field: Field) -> int | None:
    """The larger stride; None where there are no neighbours, or they are not a whole number of px apart."""
    strides = [axis.stride for axis in field] if isinstance(field, tuple) else [None]
    return None if None in strides else max(stride for stride in strides if stride is not None)


def receptive_fields(body: nn.Module, size: int) -> dict[str, Field]:
    """The receptive field of each module's output; empty where the network cannot be traced."""
    tracer = _Tracer()
    try:
        graph = tracer.trace(body)
        with torch.no_grad():
            ShapeProp(fx.GraphModule(body, graph)).propagate(torch.zeros(1, bands_of(body), size, size))
    except Exception:  # control flow that depends on values can fail in any way while it is traced
        return {}
    fields = propagated(graph, dict(body.named_modules()))
    known = {name: fields[node] for name, node in tracer.outputs.items() if node in fields}
    leaves = tracer.leaves & known.keys()
    inner = {name: leaf for name, _ in body.named_modules() for leaf in leaves if name.startswith(f"{leaf}.")}
    return {**{name: known[leaf] for name, leaf in inner.items()}, **known}


class _Tracer(fx.Tracer):
    """Records which node each module's output is; layers of other libraries that subclass torch's stay whole."""

    WHOLE = (nn.Conv2d, nn.Linear, nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm)

    def __init__(self) -> None:
        super().__init__()
        self.outputs: dict[str, fx.Node] = {}
        self.leaves: set[str] = set()

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether a module is one node of the graph."""
        is_leaf = isinstance(m, self.WHOLE) or super().is_leaf_module(m, module_qualified_name)
        if is_leaf:
            self.leaves.add(module_qualified_name)
        return is_leaf

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Trace one call and keep its output."""
        output = super().call_module(m, forward, args, kwargs)
        if isinstance(output, fx.Proxy):
            self.outputs[self.path_of_module(m)] = output.node
        return output


def propagated(graph: fx.Graph, modules: Mapping[str, nn.Module]) -> dict[fx.Node, Field]:
    """The receptive field of each node that is a tensor computed from the images."""
    fields: dict[fx.Node, Field] = {}
    for node in graph.nodes:
        sources = [source for source in node.all_input_nodes if source in fields]
        if node.op == "placeholder":
            fields[node] = PIXEL
        elif sources and "tensor_meta" in node.meta:
            merged = largest(fields[source] for source in sources)
            fields[node] = behind(node, sources[0], modules, merged)
    return fields


def largest(fields: Iterable[Field]) -> Field:
    """The maximum over paths that meet; what is not known on one path is not known."""
    result: Field = (Axis(0, 0), Axis(0, 0))
    for field in fields:
        if field is None or result is None:
            return None
        if field == "global" or result == "global":
            result = "global"
            continue
        assert isinstance(result, tuple)
        assert isinstance(field, tuple)
        height, width = (_larger(*axes) for axes in zip(result, field, strict=True))
        result = (height, width)
    return result


def _larger(*axes: Axis) -> Axis:
    strides = [axis.stride for axis in axes]
    stride = None if None in strides else max(stride for stride in strides if stride is not None)
    return Axis(max(axis.field for axis in axes), stride)


def behind(node: fx.Node, source: fx.Node, modules: Mapping[str, nn.Module], before: Field) -> Field:
    """The receptive field behind one operation."""
    if before is None or before == "global":
        return before
    if node.op == "call_module":
        return behind_module(modules[str(node.target)], source, node, before)
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    if node.target is operator.getitem:
        return sliced(node.args[1], before)
    if name == "linear":
        return behind_linear(source, before)
    if name in POINTWISE:
        return before
    if name in ("mean", "sum", "amax"):
        return "global" if _reduces_the_map(node, source) else before
    if name in ("max_pool2d", "avg_pool2d"):
        return windowed(before, *_pool_arguments(node))
    if name in ("adaptive_avg_pool2d", "adaptive_max_pool2d"):
        return pooled_to(before, _map_sides(source), _map_sides(node))
    return None


# Operations after which a value still depends on the same pixels as before.
POINTWISE = {
    *("add", "iadd", "sub", "isub", "mul", "imul", "truediv", "itruediv", "neg", "pow", "add_", "mul_", "div", "clamp"),
    *("relu", "relu_", "relu6", "gelu", "silu", "hardswish", "hardsigmoid", "sigmoid", "tanh", "softmax", "elu"),
    *("leaky_relu", "dropout", "batch_norm", "layer_norm", "group_norm", "normalize", "mish", "exp", "sqrt"),
    *("cat", "stack", "chunk", "split", "unbind", "pad", "flatten", "reshape", "view", "permute", "transpose"),
    *("contiguous", "unsqueeze", "squeeze", "expand", "expand_as", "to", "float", "type_as", "clone", "detach"),
}


def behind_module(module: nn.Module, source: fx.Node, node: fx.Node, before: Field) -> Field:
    """The receptive field behind one module."""
    match module:
        case nn.Conv2d():
            return windowed(before, module.kernel_size, module.stride, module.dilation)
        case nn.MaxPool2d():
            return windowed(before, module.kernel_size, module.stride, module.dilation)
        case nn.AvgPool2d():
            return windowed(before, module.kernel_size, module.stride)
        case nn.AdaptiveAvgPool2d() | nn.AdaptiveMaxPool2d():
            return pooled_to(before, _map_sides(source), _map_sides(node))
        case nn.Linear():
            return behind_linear(source, before)
        case nn.MultiheadAttention():
            return "global"
        case nn.ConvTranspose2d() | nn.Upsample() | nn.PixelShuffle() | nn.RNNBase():
            return None
    return before


def behind_linear(source: fx.Node, before: Field) -> Field:
    """Behind a dense layer: it looks at all of (N, D), at one place of (N, H, W, C); (N, L, C) may be transposed."""
    axes = len(_shape(source) or ())
    return "global" if axes == 2 else before if axes == 4 else None


def windowed(before: Field, kernel: Any, stride: Any, dilation: Any = 1) -> Field:
    """The receptive field behind a sliding window (Araujo et al., Distill 2019, eq. 2, in the order of the layers)."""
    if not isinstance(before, tuple) or any(axis.stride is None for axis in before):
        return None
    height, width = (
        Axis(axis.field + (side - 1) * gap * (axis.stride or 0), (axis.stride or 0) * step)
        for axis, side, step, gap in zip(before, _pair(kernel), _pair(stride), _pair(dilation), strict=True)
    )
    return height, width


def pooled_to(before: Field, sides: tuple[int, int] | None, target: tuple[int, int] | None) -> Field:
    """The receptive field behind adaptive pooling, whose windows lie between floor(i n / m) and ceil((i + 1) n / m)."""
    if not isinstance(before, tuple) or sides is None or target is None:
        return None
    if target == (1, 1):
        return "global"
    height, width = (_pooled_axis(axis, n, m) for axis, n, m in zip(before, sides, target, strict=True))
    return None if height is None or width is None else (height, width)


def _pooled_axis(axis: Axis, n: int, m: int) -> Axis | None:
    if axis.stride is None:
        return None
    window = max(-(-(i + 1) * n // m) - i * n // m for i in range(m))
    whole = axis.stride * n % m == 0
    return Axis(axis.field + (window - 1) * axis.stride, axis.stride * n // m if whole else None)


def sliced(index: Any, before: Field) -> Field:
    """The receptive field behind `maps[:, :, ::2, ::2]` and other indexing."""
    if not isinstance(before, tuple) or not isinstance(index, tuple) or len(index) != 4:
        return before
    steps = [part.step or 1 if isinstance(part, slice) else 1 for part in index[2:]]
    return windowed(before, 1, steps)


def _pool_arguments(node: fx.Node) -> tuple[Any, Any]:
    """Kernel and stride of a pooling function; without a stride it is the kernel."""
    kernel = node.kwargs.get("kernel_size", node.args[1] if len(node.args) > 1 else None)
    stride = node.kwargs.get("stride", node.args[2] if len(node.args) > 2 else None)
    return kernel, stride or kernel


def _pair(value: Any) -> tuple[int, int]:
    first, second = value if isinstance(value, Iterable) else (value, value)
    return int(first), int(second)


def _shape(node: fx.Node) -> tuple[int, ...] | None:
    meta = node.meta.get("tensor_meta")
    return tuple(meta.shape) if isinstance(meta, TensorMetadata) else None


def _map_sides(node: fx.Node) -> tuple[int, int] | None:
    """Height and width of a node that is maps (N, C, H, W)."""
    shape = _shape(node)
    return (shape[2], shape[3]) if shape is not None and len(shape) == 4 else None


def _reduces_the_map(node: fx.Node, source: fx.Node) -> bool:
    """Whether a mean runs over positions: over two axes of maps, or over the tokens of (N, L, C)."""
    axes: Any = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else None)
    listed = axes if isinstance(axes, Iterable) else (axes,)
    return axes is None or len(list(listed)) > 1 or bool(axes == 1 and len(_shape(source) or ()) == 3)
