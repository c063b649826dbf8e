"""The images of a run as its facts hold them, and as a person is told of them."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import fill

from transferkit.data import datasets
from transferkit.data.images import Images, SealedImages, Splits
from transferkit.data.split_comparison import split_facts
from transferkit.data.split_facts import ClassCounts
from transferkit.recipe import DataSettings
from transferkit.runs.facts import Fingerprints, ImageCounts, RunData
from transferkit.runtime.plurals import counted

EACH_CLASS_UP_TO = 20  # classes whose images are counted one by one; of more, the fewest and the most are said
COLUMNS = 80


def run_data(settings: DataSettings, splits: Splits) -> RunData:
    """What is known of the images before anything is learnt; the test part stays sealed."""
    parts: tuple[Images | SealedImages, ...] = (splits.train, splits.val, splits.test)
    return RunData(
        name=settings.name,
        terms=datasets.terms(settings.name),
        fingerprint=Fingerprints(*(part.fingerprint for part in parts)),
        n=ImageCounts(*(len(part) for part in parts)),
        size_px=splits.train.size_px,
        parts=split_facts(splits),
    )


def in_words(data: RunData) -> Iterator[str]:
    """The lines that begin a run: how many classes, images in each part, and images of each class."""
    side = " x ".join(str(px) for px in data.size_px[:2])
    classes = f"{counted(len(data.parts.class_names), 'class', 'classes')}; " if data.parts else ""
    n = data.n
    yield f"data: {classes}{n.train:,} train, {n.val:,} val and {counted(n.test, 'test image')} of {side} px"
    if data.parts:
        yield fill(
            classes_in_words(data.parts.class_names, data.parts.n),
            COLUMNS,
            initial_indent="  ",
            subsequent_indent="    ",
        )


def classes_in_words(names: tuple[str, ...], n: ClassCounts) -> str:
    """How many images each class has; parts that are not there are left out.

    Example:
        >>> classes_in_words(("cat", "dog"), ClassCounts((8, 8), (2, 2), (5, 5)))
        'each class: 8 train, 2 val, 5 test'
        >>> classes_in_words(("cat", "dog"), ClassCounts((8, 30), (), (5, 9)))
        'images of each class (train/test): cat 8/5, dog 30/9'
    """
    parts = {name: counts for name, counts in vars(n).items() if counts}
    if all(len(set(counts)) == 1 for counts in parts.values()):
        return "each class: " + ", ".join(f"{counts[0]:,} {name}" for name, counts in parts.items())
    if len(names) <= EACH_CLASS_UP_TO:
        rows = zip(names, zip(*parts.values(), strict=True), strict=True)
        listed = ", ".join(f"{name} {'/'.join(f'{count:,}' for count in counts)}" for name, counts in rows)
        return f"images of each class ({'/'.join(parts)}): {listed}"
    return "images per class: " + ", ".join(
        f"{min(counts):,} to {max(counts):,} {name}" for name, counts in parts.items()
    )
