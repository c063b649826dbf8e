"""All that decides the features of an image, as a hash under which they are stored."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from transferkit import __version__
from transferkit.runtime.environment import package_version
from transferkit.runtime.json_files import JsonObject

if TYPE_CHECKING:
    from torch import nn

    from transferkit.models.stored_model import InputSpec
    from transferkit.models.test_time_augmentation import Averaging

FORMAT = 2  # of the store's layout and of what Key holds
PACKAGES = ("torch", "torchvision", "timm")


@dataclass(frozen=True)
class Key:
    """All that decides the features of an image, except the image.

    Attributes:
        weights: SHA-256 over every parameter and buffer of the body, and over its architecture.
        preparation: The InputSpec, and the size of the images before it.
        layer: Name of the layer.
        pool: How a map becomes a vector.
        precision: fp32 or bf16, with the type of device, whose arithmetic differs (TF32, say).
        versions: Of the libraries that compute.
        averaging: Test-time augmentation: what of it is on.
        format: Of the store.
    """

    weights: str
    preparation: JsonObject
    layer: str
    pool: str
    precision: str
    versions: dict[str, str]
    averaging: dict[str, bool] = field(default_factory=dict)
    format: int = FORMAT

    @cached_property
    def digest(self) -> str:
        """SHA-256 in hex."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


def key_of(
    weights: str,
    spec: InputSpec,
    image_px: tuple[int, int],
    layer: str,
    pool: str,
    precision: str,
    device_type: str,
    averaging: Averaging | None = None,
) -> Key:
    """The key of one layer's features, on this machine's libraries."""
    preparation = {**asdict(spec), "image_px": list(image_px)}
    return Key(
        weights,
        preparation,
        layer,
        pool,
        f"{precision}-{device_type}",
        versions(),
        {name: True for name, is_on in asdict(averaging).items() if is_on} if averaging else {},
    )


def versions() -> dict[str, str]:
    """Of the libraries that compute features, this one included."""
    return {"transferkit": __version__, **{name: package_version(name) for name in PACKAGES}}


def weights_digest(body: nn.Module) -> str:
    """SHA-256 over the architecture as it prints itself, and over every parameter and buffer by name."""
    import torch

    printed = re.sub(r" at 0x[0-9a-f]+", "", repr(body))
    digest = hashlib.sha256(printed.encode())
    for name, value in (*body.named_parameters(), *body.named_buffers()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
