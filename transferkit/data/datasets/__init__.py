"""The data sets, each a module with `load(settings, console) -> Splits` and `outline(settings) -> Outline`.

The menu is `recipe.DATA_MODELS`, whose settings name these modules and declare what others need to know. One that has
to be downloaded also has `download_mb(settings)`; one of the user's own files may have `seen_in_words(settings)`
and, where it need not decode all to show some, `few(settings, count) -> Images`.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from transferkit.data.datasets.outline import Outline
from transferkit.data.file_facts import FileFacts
from transferkit.recipe import DATA_MODELS, DataSettings
from transferkit.runtime.errors import TransferkitError, did_you_mean

if TYPE_CHECKING:
    from transferkit.data.images import Images, Splits
    from transferkit.runtime.console import Console


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


def load(settings: DataSettings, console: Console) -> Splits:
    """Train and val images and sealed test images, as the settings ask; notes are printed as well as returned.

    Raises:
        TransferkitError: If the data are missing, unreadable or unfit to train a classifier on.
    """
    from transferkit.data.datasets.fold import with_fold_as_test  # images, which a listing of data sets does without

    splits: Splits = with_fold_as_test(_module(settings).load(settings, console), settings)
    for note in splits.notes:
        console.line(note)
    return splits.named(str(settings.own_files.resolve()) if settings.own_files else settings.name)


def few(settings: DataSettings, count: int) -> Images:
    """Some of the training images, evenly spread; of a folder's files no others are decoded.

    Raises:
        TransferkitError: If the data are missing, unreadable or unfit to train a classifier on.
    """
    from transferkit.runtime.console import SILENT

    module = _module(settings)
    if hasattr(module, "few") and settings.folds is None:
        chosen: Images = module.few(settings, count)
        return chosen
    return load(settings, SILENT).train.spread(count)


def _module(settings: DataSettings) -> Any:
    if settings.name not in DATA_MODELS:
        raise TransferkitError(f"Unknown data set {settings.name!r}. {did_you_mean(settings.name, DATA_MODELS)}")
    return import_module(DATA_MODELS[settings.name].module)


def outline(settings: DataSettings) -> Outline:
    """How large a data set is, without decoding or downloading it.

    Raises:
        TransferkitError: If there is no such data set, or a folder has no classes.
    """
    known: Outline = _module(settings).outline(settings)
    return known


def seen_in_words(settings: DataSettings) -> list[str]:
    """What a dry run sees of the user's own files; nothing of a published data set.

    Raises:
        TransferkitError: If there are no classes to tell apart.
    """
    return list(_module(settings).seen_in_words(settings)) if settings.own_files else []


def seen_files(settings: DataSettings) -> FileFacts:
    """What the names of the user's own folders tell before a file is opened; nothing of other kinds of data."""
    module = _module(settings)
    facts: FileFacts = module.seen_files(settings) if hasattr(module, "seen_files") else FileFacts()
    return facts


def download_mb(settings: DataSettings) -> int:
    """Megabytes that `load` will have to download; 0 where the images are here.

    Raises:
        TransferkitError: If they are not in the folder that the settings name.
    """
    return 0 if settings.offline else int(_module(settings).download_mb(settings))


def terms(name: str) -> str:
    """Licence or terms of use of a data set.

    Example:
        >>> terms("svhn")
        'non-commercial use only; cite Netzer et al. (2011)'
    """
    return DATA_MODELS[name].terms


def cards() -> tuple[DataSetCard, ...]:
    """One card per data set, in the order of the menu; needs none of the libraries that load them."""
    return tuple(_card(name, model) for name, model in DATA_MODELS.items())


def _card(name: str, model: type[DataSettings]) -> DataSetCard:
    known = model.classes, model.images, model.side, model.terms, model.source, model.offline
    return DataSetCard(model.typed or name, *known)
