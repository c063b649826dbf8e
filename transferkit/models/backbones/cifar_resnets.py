"""The CIFAR networks of He et al. 2016, with and without shortcuts, written to be read.

`resnet20` and `resnet56` have 6n + 2 layers (CVPR 2016, section 4.2): a 3x3 stem, widths 16, 32 and 64, and shortcuts
without parameters (option A: every second pixel, missing channels zero). `plain20` and `plain56` are the same networks
without the shortcuts. `resnet-mini` is wide and shallow, for a CPU in a hurry.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F


class PlainBlock(nn.Module):
    """Two 3x3 convolutions, one after the other."""

    def __init__(self, width_in: int, width_out: int, stride: int) -> None:
        super().__init__()
        self.convolutions = two_convolutions(width_in, width_out, stride)

    def forward(self, maps: Tensor) -> Tensor:
        """(N, width_in, H, W) to (N, width_out, H / stride, W / stride)."""
        return F.relu(self.convolutions(maps))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions that learn what to add to their input (He et al. 2016, figure 2)."""

    def __init__(self, width_in: int, width_out: int, stride: int) -> None:
        super().__init__()
        self.convolutions = two_convolutions(width_in, width_out, stride)
        self.shortcut = Shortcut(width_out - width_in, stride)

    def forward(self, maps: Tensor) -> Tensor:
        """(N, width_in, H, W) to (N, width_out, H / stride, W / stride)."""
        return F.relu(self.convolutions(maps) + self.shortcut(maps))


class Shortcut(nn.Module):
    """The input itself, in the shape of the output, without parameters (He et al. 2016, option A)."""

    def __init__(self, new_channels: int, stride: int) -> None:
        super().__init__()
        self.new_channels = new_channels
        self.subsample = nn.MaxPool2d(kernel_size=1, stride=stride)  # keeps every stride-th pixel

    def forward(self, maps: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C + new_channels, H / stride, W / stride); the new channels are zero."""
        return F.pad(self.subsample(maps), (0, 0, 0, 0, 0, self.new_channels))


class SmallNetwork(nn.Module):
    """A 3x3 stem, one stage of blocks per width, each but the first at half the resolution, and the average."""

    def __init__(self, block: type[PlainBlock | ResidualBlock], widths: Sequence[int], blocks_per_stage: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(convolution(3, widths[0], stride=1), nn.BatchNorm2d(widths[0]), nn.ReLU())
        stages = []
        width_in = widths[0]
        for position, width in enumerate(widths):
            strides = [1 if position == 0 else 2] + [1] * (blocks_per_stage - 1)
            widths_in = [width_in] + [width] * (blocks_per_stage - 1)
            blocks = [block(before, width, stride) for before, stride in zip(widths_in, strides, strict=True)]
            stages.append(nn.Sequential(*blocks))
            width_in = width
        self.stage1, self.stage2, self.stage3 = stages
        self.pool = nn.AdaptiveAvgPool2d(1)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to features (N, D)."""
        maps = self.stage3(self.stage2(self.stage1(self.stem(images))))
        features: Tensor = self.pool(maps).flatten(1)  # (N, D, 1, 1) to (N, D)
        return features


def two_convolutions(width_in: int, width_out: int, stride: int) -> nn.Sequential:
    """Convolution, BatchNorm, ReLU, convolution, BatchNorm."""
    return nn.Sequential(
        convolution(width_in, width_out, stride),
        nn.BatchNorm2d(width_out),
        nn.ReLU(),
        convolution(width_out, width_out, stride=1),
        nn.BatchNorm2d(width_out),
    )


def convolution(width_in: int, width_out: int, stride: int) -> nn.Conv2d:
    """3x3, without bias because BatchNorm follows, initialised after He et al. 2015 (arXiv:1502.01852)."""
    layer = nn.Conv2d(width_in, width_out, kernel_size=3, stride=stride, padding=1, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer


STAGES = {"stem": ("stem",), "stage1": ("stage1",), "stage2": ("stage2",), "stage3": ("stage3", "pool")}
