"""The menu of data sets: each is a module with `load(settings, console) -> Splits`."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from transferkit.runtime.errors import TransferkitError, did_you_mean

if TYPE_CHECKING:
    from transferkit.data.images import Splits
    from transferkit.recipe import Data
    from transferkit.runtime.console import Console

DATASETS = {
    "cifar10": "transferkit.data.datasets.cifar10",
    "cifar100": "transferkit.data.datasets.cifar100",
    "svhn": "transferkit.data.datasets.svhn",
    "digits": "transferkit.data.datasets.digits",
    "glyphs": "transferkit.data.datasets.glyphs",
    "folder": "transferkit.data.datasets.folder",
}
DOWNLOADED = ("cifar10", "cifar100", "svhn")  # each says how much, by `download_mb(settings)`


@dataclass(frozen=True)
class DataSetCard:
    """What a person asks before choosing a data set.

    Attributes:
        name: As it is typed after `--data`.
        classes: How many; None where the user's own data decide.
        images: How many, test included; None where the user's own data decide.
        size: Of one image.
        terms: Licence or terms of use.
        source: Where it comes from.
        offline: Whether it works without a download.
    """

    name: str
    classes: int | None
    images: int | None
    size: str
    terms: str
    source: str
    offline: bool


def load(settings: Data, console: Console) -> Splits:
    """Train and val images and sealed test images, as the settings ask; notes are printed as well as returned.

    Raises:
        TransferkitError: If the data are missing, unreadable or unfit to train a classifier on.
    """
    if settings.name not in DATASETS:
        raise TransferkitError(f"Unknown data set {settings.name!r}. {did_you_mean(settings.name, DATASETS)}")
    splits: Splits = import_module(DATASETS[settings.name]).load(settings, console)
    for note in splits.notes:
        console.line(note)
    return splits.named(str(settings.path.resolve()) if settings.name == "folder" else settings.name)


def download_mb(settings: Data) -> int:
    """Megabytes that `load` will have to download; 0 where the images are here.

    Raises:
        TransferkitError: If they are not in the folder that the settings name.
    """
    if settings.name not in DOWNLOADED:
        return 0
    return int(import_module(DATASETS[settings.name]).download_mb(settings))


def terms(name: str) -> str:
    """Licence or terms of use of a data set.

    Example:
        >>> terms("svhn")
        'non-commercial use only; cite Netzer et al. (2011)'
    """
    return next(card.terms for card in cards() if card.name.partition(":")[0] == name)


def cards() -> tuple[DataSetCard, ...]:
    """One card per data set, in the order of the menu; needs none of the libraries that load them."""
    cite = "no licence stated; the authors ask to cite Krizhevsky (2009)"
    return (
        DataSetCard("cifar10", 10, 60_000, "32 x 32 px", cite, "https://www.cs.toronto.edu/~kriz/cifar.html", False),
        DataSetCard("cifar100", 100, 60_000, "32 x 32 px", cite, "https://www.cs.toronto.edu/~kriz/cifar.html", False),
        DataSetCard(
            "svhn",
            10,
            99_289,
            "32 x 32 px",
            "non-commercial use only; cite Netzer et al. (2011)",
            "http://ufldl.stanford.edu/housenumbers/",
            False,
        ),
        DataSetCard("digits", 10, 1_797, "8 x 8 px", "CC BY 4.0 (UCI, Alpaydin and Kaynak 1998)", "scikit-learn", True),
        DataSetCard("glyphs", 26, 10_400, "16 x 16 px", "drawn here", "fonts shipped with matplotlib", True),
        DataSetCard("folder:PATH", None, None, "any", "yours", "a folder or a CSV file", True),
    )
