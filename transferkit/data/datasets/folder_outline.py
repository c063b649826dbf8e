"""What is seen of a folder before its images are decoded."""

from __future__ import annotations

from collections import Counter

from transferkit.data.datasets import layouts
from transferkit.data.datasets.folder_cache import automatic_size
from transferkit.data.datasets.folder_groups import with_folders
from transferkit.data.datasets.layout import LISTED
from transferkit.data.datasets.outline import Outline
from transferkit.data.decoding import short_side
from transferkit.data.file_facts import FileFacts
from transferkit.recipe import FolderData
from transferkit.runtime.plurals import counted

LOOKED_AT = 1_000  # files that a dry run opens, evenly spaced


def outline(settings: FolderData) -> Outline:
    """Counts of its files, and the side at which they will be kept.

    Raises:
        TransferkitError: If there are no classes to tell apart.
    """
    layout = layouts.find(settings)
    paths = [str(layout.root / file.path) for file in layout.files]
    side = settings.storage if isinstance(settings.storage, int) else automatic_size(paths, settings.max_megapixels)
    classes = len(layout.train.class_names)
    if layout.test and layout.test.files:
        tested = len(layout.test.files)
        return Outline(len(layout.files) - tested, tested, classes, side)
    return Outline.divided(len(layout.files), settings.test_fraction, classes, side)


def seen_files(settings: FolderData) -> FileFacts:
    """What the folders are called and hold; no file is opened."""
    return with_folders(FileFacts(), layouts.find(settings), settings.val_fraction)


def seen_in_words(settings: FolderData) -> list[str]:
    """Classes, and which of a thousand files cannot be read.

    Raises:
        TransferkitError: If there are no classes to tell apart.
    """
    layout = layouts.find(settings)
    counts = Counter(file.label for file in layout.train.files)
    looked_at = layout.files[:: max(1, len(layout.files) // LOOKED_AT)]
    broken = [
        file.path for file in looked_at if short_side(str(layout.root / file.path), settings.max_megapixels) is None
    ]
    fewest, most = min(counts.values()), max(counts.values())
    sizes = f"{f'{fewest:,} to ' * (fewest < most)}{counted(most, 'training image')} each"
    opened = f"{len(looked_at):,} of {counted(len(layout.files), 'file')} opened"
    lines = [f"Data: {counted(len(counts), 'class', 'classes')}, {sizes}; {opened}."]
    if broken:
        shown = ", ".join(broken[:LISTED])
        lines.append(f"{len(broken)} of them cannot be read: {shown}. Fix or delete them, or use --skip-bad.")
    return lines
