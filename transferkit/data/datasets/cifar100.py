"""CIFAR-100: 60,000 images of 32 x 32 px in a hundred classes (Krizhevsky 2009), with their fine labels."""

from __future__ import annotations

from transferkit.data.datasets.cifar_batches import Archive, load_archive
from transferkit.data.datasets.cifar_batches import download_mb as archive_mb
from transferkit.data.datasets.outline import Outline
from transferkit.data.images import Splits
from transferkit.recipe import Cifar100Data
from transferkit.runtime.console import Console

ARCHIVE = Archive(
    title="CIFAR-100",
    urls=(
        "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
        "https://huggingface.co/datasets/cnak47/cv-datasets/resolve/"
        "6931f66584bf3a507711a644f6803fa5f419faf1/cifar-100-python.tar.gz",  # its LFS record states this SHA-256
    ),
    sha256="85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
    megabytes=169,
    folder="cifar-100-python",
    train=("train",),
    test=("test",),
    names=("meta", b"fine_label_names"),
    labels=b"fine_labels",
)


def load(settings: Cifar100Data, console: Console) -> Splits:
    """Images in the publisher's split, downloaded once.

    Raises:
        TransferkitError: If `root` holds no such archive, or it is damaged.
        MachineError: If it cannot be downloaded.
    """
    return load_archive(ARCHIVE, settings, console)


def outline(_: Cifar100Data) -> Outline:
    """As published."""
    return Outline(labelled=50_000, tested=10_000, classes=100, px=32)


def download_mb(settings: Cifar100Data) -> int:
    """Megabytes that have to be downloaded; 0 where the archive is here.

    Raises:
        TransferkitError: If `root` holds no such archive.
    """
    return archive_mb(ARCHIVE, settings.root)
