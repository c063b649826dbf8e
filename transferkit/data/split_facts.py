"""What train, val and test say of each other before anything is learnt, as a run's facts hold it."""

from __future__ import annotations

from dataclasses import dataclass, field

from transferkit.data.file_facts import FileFacts, Names


@dataclass(frozen=True)
class ClassCounts:
    """Images of each class in each part, in the order of the class names; empty for a part that is not there."""

    train: tuple[int, ...]
    val: tuple[int, ...]
    test: tuple[int, ...]


@dataclass(frozen=True)
class SplitFacts:
    """What checks need of a data set's parts; None where there is nothing to tell.

    Attributes:
        class_names: C strings.
        n: Of each class.
        copies: Test images that have the very pixels of an image in train or val.
        near_copies: Of the test images looked at, those with a near copy among the training images looked at.
        tested_groups: Of the groups in test, those that are in train or val too.
        val_groups: Of the groups in val, those that are in train too.
        files: What was seen of the files.
    """

    class_names: tuple[str, ...]
    n: ClassCounts
    copies: Names | None = None
    near_copies: Names | None = None
    tested_groups: Names | None = None
    val_groups: Names | None = None
    files: FileFacts = field(default_factory=FileFacts)
