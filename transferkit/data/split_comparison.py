"""Comparing train, val and test before anything is learnt; no pixel of test reaches a fit through it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from transferkit.data.duplicates import near_copies
from transferkit.data.file_facts import Names
from transferkit.data.images import Images, Splits
from transferkit.data.split_facts import ClassCounts, SplitFacts

SEARCHED = 2_000  # test images, evenly spread, whose near copies are looked for
SEARCHED_BYTES = 2_000_000_000  # of training images, evenly spread, among which they are looked for
FEWEST_SEARCHED = 1_000  # of these, however large


def split_facts(splits: Splits) -> SplitFacts:
    """The facts of splits; the test part stays sealed."""
    return splits.test.measured(lambda test: _facts(splits, test))


def _facts(splits: Splits, test: Images) -> SplitFacts:
    train, val = splits.train, splits.val
    learnt_from = {group for images in (train, val) for group in images.groups or ()}
    copies = _copies((train, val), test)
    return SplitFacts(
        splits.class_names,
        ClassCounts(counts(train), counts(val), counts(test)),
        Names.some([test.ids[at] for at in copies], len(test)),
        _near_copies(train, test, copies),
        _shared(test.groups, learnt_from),
        _shared(val.groups, train.groups or ()),
        splits.files,
    )


def counts(images: Images) -> tuple[int, ...]:
    """(C,), how many images each class has; empty where there are no images or no labels."""
    if images.labels is None or not len(images):
        return ()
    return tuple(np.bincount(images.labels, minlength=len(images.class_names)).tolist())


def _copies(learnt_from: Iterable[Images], test: Images) -> list[int]:
    """Positions in test of images that were learnt from: they say nothing of new images."""
    known = {digest.tobytes() for images in learnt_from for digest in images.digests}
    return [at for at, digest in enumerate(test.digests) if digest.tobytes() in known]


def _near_copies(train: Images, test: Images, copies: list[int]) -> Names | None:
    """Those that are no exact copies, among as many images as seconds allow."""
    if not len(train) or not len(test):
        return None
    chosen = np.unique(np.linspace(0, len(test) - 1, SEARCHED).astype(np.int64))
    chosen = chosen[~np.isin(chosen, copies)]
    most = max(FEWEST_SEARCHED, SEARCHED_BYTES * len(train) // max(1, train.num_bytes))
    pairs = near_copies(train.spread(most), test.subset(chosen))
    return Names.some([test.ids[chosen[at]] for at, _ in pairs], len(chosen))


def _shared(groups: Iterable[str] | None, others: Iterable[str]) -> Names | None:
    own = set(groups or ())
    return Names.some(sorted(own & set(others)), len(own))
