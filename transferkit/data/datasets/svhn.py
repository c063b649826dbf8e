"""SVHN: house-number digits of 32 x 32 px (Netzer et al. 2011), the cropped format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from transferkit.data.datasets.outline import Outline
from transferkit.data.images import Images, Splits
from transferkit.data.splitting import carved
from transferkit.recipe import SvhnData
from transferkit.runtime.cache_place import cache_folder
from transferkit.runtime.console import SILENT, Console
from transferkit.runtime.download import fetch
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.plurals import counted

CLASS_NAMES = tuple("0123456789")
HOME = "http://ufldl.stanford.edu/housenumbers/"
MD5 = {  # torchvision, datasets/svhn.py
    "train_32x32.mat": "e26dedcc434d2e4c54c9b2d4a06d8373",
    "test_32x32.mat": "eb5a983be6a315427106f1b164d9cef3",
}
MEGABYTES = {"train_32x32.mat": 182, "test_32x32.mat": 64}
OFFLINE = (
    "Without a network, --data digits, --data glyphs and --data folder:PATH work, and `transferkit quickstart`, "
    "a whole study that downloads nothing."
)


def load(settings: SvhnData, console: Console) -> Splits:
    """Images in the publisher's split; the file's label 10 stands for the digit 0.

    Raises:
        TransferkitError: If a file is missing or is no SVHN file.
    """
    train, test = (_images(_file(settings.root, part, console), part) for part in ("train", "test"))
    return carved(train, test, settings)


def outline(_: SvhnData) -> Outline:
    """As published."""
    return Outline(labelled=73_257, tested=26_032, classes=10, px=32)


def download_mb(settings: SvhnData) -> int:
    """Megabytes that have to be downloaded; 0 where both files are here.

    Raises:
        TransferkitError: If `root` lacks one of them.
    """
    if settings.root:
        for part in ("train", "test"):
            _file(settings.root, part, SILENT)
        return 0
    return sum(size for name, size in MEGABYTES.items() if not _place(name).is_file())


def _place(name: str) -> Path:
    return cache_folder() / "downloads" / name


def _file(root: Path | None, part: str, console: Console) -> Path:
    name = f"{part}_32x32.mat"
    if root is None:
        place = _place(name)
        return fetch([HOME + name], place, md5=MD5[name], title=f"SVHN {part}", console=console, offline=OFFLINE)
    if not (root / name).is_file():
        raise TransferkitError(
            f"{root} has no file {name}. Put it there (from {HOME}{name}), or leave data.root out to download it."
        )
    return root / name


def _images(path: Path, part: str) -> Images:
    pixels, labels = _arrays(path)
    ids = [f"{part}/{index:05d}" for index in range(len(labels))]
    return Images.from_pixels(np.ascontiguousarray(pixels.transpose(3, 2, 0, 1)), labels % 10, CLASS_NAMES, ids)


def _arrays(path: Path) -> tuple[Any, Any]:
    """Pixels (H, W, 3, N) and labels (N,) in 1..10."""
    from scipy.io import loadmat

    try:
        content = loadmat(path, variable_names=("X", "y"))
        pixels, labels = content["X"], content["y"].reshape(-1).astype(np.int64)
    except Exception as error:  # scipy raises errors of many kinds on damaged files
        raise TransferkitError(f"{path} is no SVHN file: {error}. Expected MATLAB arrays X and y.") from error
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[2:] != (3, len(labels)):
        raise TransferkitError(
            f"{path} is no SVHN file. Expected X of shape (32, 32, 3, N), uint8, and y of shape (N, 1); "
            f"found X {pixels.dtype} {pixels.shape} and {counted(len(labels), 'label')}."
        )
    return pixels, labels
