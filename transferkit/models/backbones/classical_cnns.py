"""Classical convolutional networks: convolutions and sub-sampling, then flattened maps and dense layers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence

from torch import Tensor, nn

from transferkit.models.backbones.shapes import Window, sides
from transferkit.recipe import SimpleCnnSettings

POOLS = {"max": nn.MaxPool2d, "average": nn.AvgPool2d}


class LeNet(nn.Module):
    """LeNet-5 (LeCun et al. 1998, figure 2): two convolutions with averaging sub-sampling, then two dense layers.

    Here every map of C3 sees all maps of S2, sub-sampling has no weights, and colour images have three channels.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.c1 = nn.Sequential(nn.Conv2d(3, 6, kernel_size=5), nn.Tanh(), nn.AvgPool2d(2))
        self.c3 = nn.Sequential(nn.Conv2d(6, 16, kernel_size=5), nn.Tanh(), nn.AvgPool2d(2))
        self.flatten = nn.Flatten()
        self.c5 = nn.Sequential(nn.Linear(16 * lenet_side(size) ** 2, 120), nn.Tanh())
        self.f6 = nn.Sequential(nn.Linear(120, 84), nn.Tanh())

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to features (N, 84)."""
        maps = self.c3(self.c1(images))
        features: Tensor = self.f6(self.c5(self.flatten(maps)))  # (N, 16, h, w) to (N, 16 x h x w) to (N, 84)
        return features


LENET_STAGES = {"c1": ("c1",), "c3": ("c3", "flatten"), "c5": ("c5",), "f6": ("f6",)}


def lenet_side(size: int) -> int:
    """Side of LeNet's last maps; 5 px for the 32 px that it was made for."""
    windows = (Window("C1", 5), Window("S2", 2, 2), Window("C3", 5), Window("S4", 2, 2))
    return sides("lenet", windows, size, "Use --size 16 or more; it was made for 32.")[-1]


class SimpleCnn(nn.Module):
    """Blocks of convolution, BatchNorm, ReLU and pooling; the maps flattened; dense layers."""

    def __init__(self, settings: SimpleCnnSettings, size: int) -> None:
        super().__init__()
        widths = settings.widths
        self.blocks = nn.Sequential(*[block(settings, *pair) for pair in zip((3, *widths), widths, strict=False)])
        self.flatten = nn.Flatten()
        flat = widths[-1] * last_side(settings, size) ** 2
        self.dense = nn.Sequential(*dense_layers(flat, settings.dense, settings.dropout or 0.0))

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to features (N, D)."""
        maps = self.blocks(images)
        features: Tensor = self.dense(self.flatten(maps))  # (N, C, H, W) to (N, C x H x W) to (N, D)
        return features


def block(settings: SimpleCnnSettings, width_in: int, width_out: int) -> nn.Sequential:
    """One convolution with what follows it; a bias would be idle before BatchNorm."""
    layers: list[nn.Module] = [convolution(settings, width_in, width_out)]
    if settings.batchnorm:
        layers.append(nn.BatchNorm2d(width_out))
    layers.append(nn.ReLU())
    if settings.pool != "none":
        layers.append(POOLS[settings.pool](2))
    numbered = {str(number): layer for number, layer in enumerate(layers)}
    return nn.Sequential(OrderedDict({**constant_border(settings), **numbered}))


def constant_border(settings: SimpleCnnSettings) -> dict[str, nn.Module]:
    """The layer that pads by a constant, which `nn.Conv2d` cannot do itself; none for other paddings."""
    if settings.padding_mode != "constant":
        return {}
    return {"padding": nn.ConstantPad2d(settings.padding_px, settings.padding_value)}


def convolution(settings: SimpleCnnSettings, width_in: int, width_out: int) -> nn.Conv2d:
    """The convolution of a block; behind a constant border it pads nothing itself."""
    mode = settings.padding_mode
    layer = nn.Conv2d(
        width_in,
        width_out,
        settings.kernel,
        settings.stride,
        0 if mode == "constant" else settings.padding_px,
        bias=not settings.batchnorm,
        padding_mode="zeros" if mode == "constant" else mode,
    )
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")  # He et al. 2015 (arXiv:1502.01852)
    return layer


def dense_layers(width_in: int, widths: Sequence[int], dropout: float) -> Iterator[nn.Module]:
    """Dense layers with ReLU and dropout; without any, dropout alone acts on the flattened maps."""
    for width in widths:
        yield nn.Sequential(nn.Linear(width_in, width), nn.ReLU(), nn.Dropout(dropout))
        width_in = width
    if not widths:
        yield nn.Dropout(dropout)


def last_side(settings: SimpleCnnSettings, size: int) -> int:
    """Side of the maps that are flattened."""
    windows = []
    for number in range(1, settings.blocks + 1):
        convolution = (settings.kernel, settings.stride, settings.padding_px, settings.padding_mode)
        windows.append(Window(f"the convolution of block{number}", *convolution))
        if settings.pool != "none":
            windows.append(Window(f"the pooling of block{number}", 2, 2))
    remedy = "Use a larger --size, fewer blocks, a smaller kernel or stride, more padding, or pool=none."
    return sides("simple-cnn", windows, size, remedy)[-1]


def simple_cnn_stages(settings: SimpleCnnSettings) -> dict[str, tuple[str, ...]]:
    """One stage per block and per dense layer; flattening goes with what stands before it."""
    blocks = {f"block{number + 1}": (f"blocks.{number}",) for number in range(settings.blocks)}
    dense = {f"dense{number + 1}": (f"dense.{number}",) for number in range(len(settings.dense))}
    last = f"block{settings.blocks}"
    blocks[last] = (*blocks[last], "flatten", *(() if dense else ("dense.0",)))
    return {**blocks, **dense}
