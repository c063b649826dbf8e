"""A small network made to be trained fast, after airbench94 (Jordan 2024, arXiv:2404.00498).

How it is trained (schedule, Lookahead, fast biases, test-time augmentation) stands in `training.methods.scratch_rates`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

PATCH_PX = 2
WIDTHS = (64, 256, 256)
LOGIT_SCALE = 1 / 9  # Jordan 2024: the output is scaled down
SMALLEST_EIGENVALUE = 5e-4  # added before the root, so that noise is not blown up
NORM_EPS, NORM_MOMENTUM = 1e-12, 0.4  # airbench94: statistics that follow quickly


class ChannelBias(nn.Module):
    """One learnt number per channel, added to each of its places: a layer of its own, to be frozen by itself."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, maps: Tensor) -> Tensor:
        """(N, C, H, W), each channel shifted by its bias."""
        return maps + self.bias.view(1, -1, 1, 1)


class Speednet(nn.Module):
    """A whitening layer, three groups, and the maximum over what is left of the map (Jordan 2024, section 3.1)."""

    def __init__(self) -> None:
        super().__init__()
        values = 3 * PATCH_PX**2
        self.whitening = nn.Conv2d(3, 2 * values, PATCH_PX, bias=False)
        self.whitening_bias = ChannelBias(2 * values)
        self.gelu = nn.GELU()
        self.group1 = group(2 * values, WIDTHS[0])
        self.group2 = group(WIDTHS[0], WIDTHS[1])
        self.group3 = group(WIDTHS[1], WIDTHS[2])
        self.pool = nn.AdaptiveMaxPool2d(1)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to features (N, 256)."""
        maps = self.gelu(self.whitening_bias(self.whitening(images)))
        maps = self.group3(self.group2(self.group1(maps)))
        features: Tensor = LOGIT_SCALE * self.pool(maps).flatten(1)  # (N, D, 1, 1) to (N, D)
        return features

    @torch.no_grad()
    def start_from(self, images: Tensor) -> tuple[str, ...]:
        """Set the whitening layer from prepared training images (N, 3, H, W); names the stages to freeze with it.

        Jordan 2024, section 3.2: the filters and their negatives, frozen; a bias that learns in the first epochs alone.
        """
        filters = whitening_filters(images)
        self.whitening.weight.copy_(torch.cat((filters, -filters)))  # GELU keeps the positive side of each
        return ("whitening",)


STAGES = {
    "whitening": ("whitening",),
    "whitening_bias": ("whitening_bias", "gelu"),
    "group1": ("group1",),
    "group2": ("group2",),
    "group3": ("group3", "pool"),
}


def group(width_in: int, width_out: int) -> nn.Sequential:
    """Convolution, pooling and a second convolution, each normalised, with GELU as activation: half the resolution."""
    return nn.Sequential(
        identity_convolution(width_in, width_out),
        nn.MaxPool2d(2),
        shifting_norm(width_out),
        nn.GELU(),
        identity_convolution(width_out, width_out),
        shifting_norm(width_out),
        nn.GELU(),
    )


def identity_convolution(width_in: int, width_out: int) -> nn.Conv2d:
    """3x3 that begins by passing its input on in its first channels (Jordan 2024, section 3.3); the rest is random."""
    layer = nn.Conv2d(width_in, width_out, kernel_size=3, padding=1, bias=False)
    nn.init.dirac_(layer.weight.detach()[:width_in])
    return layer


def shifting_norm(width: int) -> nn.BatchNorm2d:
    """BatchNorm that learns to shift and not to scale, with quick statistics (Jordan 2024, section 3.1)."""
    norm = nn.BatchNorm2d(width, NORM_EPS, NORM_MOMENTUM, affine=False)
    del norm.weight  # None: without a scale, CUDA's kernel for channels_last gives no gradient of the shift
    norm.register_buffer("weight", torch.ones(width), persistent=False)
    norm.bias = nn.Parameter(torch.zeros(width))
    return norm


def whitening_filters(images: Tensor) -> Tensor:
    """Filters whose answers to patches of these images are uncorrelated and of variance one.

    The eigenvectors of the patches' second moments, each divided by the root of its eigenvalue (Page 2018;
    Jordan 2024, section 3.2).

    Args:
        images: (N, 3, H, W), prepared.

    Returns:
        (12, 3, 2, 2), the strongest first.
    """
    patches = nn.functional.unfold(images.float(), PATCH_PX).movedim(1, 2).flatten(0, 1)  # (N x positions, 12)
    moments = patches.T @ patches / len(patches)  # (12, 12)
    eigenvalues, eigenvectors = torch.linalg.eigh(moments.double().cpu())
    scaled = eigenvectors / (eigenvalues + SMALLEST_EIGENVALUE).sqrt()  # column by column
    filters: Tensor = scaled.T.flip(0).reshape(-1, 3, PATCH_PX, PATCH_PX)
    return filters.to(images)
