"""Pictures that belong together, as those of one patient, stay together: whole groups in one part and in one fold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from transferkit.runtime.array_types import Bools, Integers


def group_ranks(groups: Sequence[str], generator: np.random.Generator) -> Integers:
    """(N,), the place of each image's group in one random order of the groups."""
    numbers = group_numbers(groups)
    return generator.permutation(int(numbers.max(initial=-1)) + 1)[numbers]


def group_numbers(groups: npt.ArrayLike) -> Integers:
    """(N,) int64 in 0..G-1, the number of each image's group in sorted order.

    Example:
        >>> group_numbers(["bob", "ann", "bob"])
        array([1, 0, 1])
    """
    return np.unique(np.asarray(groups), return_inverse=True)[1].astype(np.int64)


def held_out(labels: Integers, ranks: Integers, fraction: float) -> Bools:
    """(N,), True where an image's group is held out: about this fraction of every class, in whole groups.

    Groups are walked by rank. One is held out where this brings the held-out images of its classes nearer to the
    fraction of those walked so far, and where each of its classes has a group that was kept before it, so that no class
    is left without images to learn from.
    """
    counts = class_counts(labels, ranks)  # (G, C)
    total = np.maximum(counts.sum(axis=0), 1)
    held = np.zeros(len(counts), dtype=np.bool_)
    assigned, taken = np.zeros(counts.shape[1]), np.zeros(counts.shape[1])
    for group, row in enumerate(counts):
        own = np.flatnonzero(row)
        has_kept = bool((assigned[own] > taken[own]).all())
        assigned[own] += row[own]
        excess = taken[own] - fraction * assigned[own]
        is_nearer = bool((((excess + row[own]) ** 2 - excess**2) / total[own]).sum() < 0)
        held[group] = has_kept and is_nearer
        taken[own] += row[own] * held[group]
    return held[ranks]


def in_turns(members: Integers, ranks: Integers, generator: np.random.Generator) -> Integers:
    """The members in the order of their groups' ranks, every group giving one before any gives its next.

    Args:
        members: (M,) positions among the N images.
        ranks: (N,) of each image's group.
        generator: Orders the images of a group.
    """
    shuffled = generator.permutation(members)
    by_group = shuffled[np.argsort(ranks[shuffled], kind="stable")]
    _, first, sizes = np.unique(ranks[by_group], return_index=True, return_counts=True)
    turn = np.arange(len(by_group)) - np.repeat(first, sizes)
    return by_group[np.argsort(turn, kind="stable")]


def group_folds(labels: Integers, groups: npt.ArrayLike, most: int, seed: int) -> Integers:
    """(N,), the fold that holds each image out: whole groups, classes as even as they allow.

    Large groups are placed first, each in the fold that has least of its classes so far. There are as many folds as the
    class with the fewest groups allows, but at least two and at most `most`; the only group of a class is never held
    out.

    Args:
        labels: (N,).
        groups: (N,) what tells groups apart.
        most: Folds at most.
        seed: Of the order among groups of one size.

    Returns:
        0..folds-1; -1 where an image is in every training part. All -1 where no class has two groups.
    """
    numbers = group_numbers(groups)
    counts = class_counts(labels, numbers)
    groups_of_class = (counts > 0).sum(axis=0)
    can_be_held = ~((counts > 0) & (groups_of_class == 1)).any(axis=1)
    several = groups_of_class[groups_of_class >= 2]
    if not can_be_held.any() or not len(several):
        return np.full(len(labels), -1, dtype=np.int64)
    folds = min(most, int(several.min()), int(can_be_held.sum()))
    fold = _placed(counts, can_be_held, max(folds, 2), seed)
    return fold[numbers]


def folds_of_all(labels: Integers, groups: npt.ArrayLike, folds: int, seed: int) -> Integers:
    """(N,) in 0..folds-1, the fold that answers each image: whole groups, classes as even as they allow.

    The images of a class's only group are spread over the folds, because nothing else could tell their class.
    """
    numbers = group_numbers(groups)
    counts = class_counts(labels, numbers)
    is_only = ((counts > 0) & ((counts > 0).sum(axis=0) == 1)).any(axis=1)
    fold = _placed(counts, ~is_only, folds, seed)[numbers]
    alone = np.flatnonzero(is_only[numbers])
    alone = np.random.default_rng(seed).permutation(alone)
    alone = alone[np.argsort(labels[alone], kind="stable")]
    fold[alone] = np.arange(len(alone)) % folds
    return fold


def _placed(counts: Integers, can_be_held: Bools, folds: int, seed: int) -> Integers:
    """(G,) the fold of each group."""
    total = np.maximum(counts.sum(axis=0), 1)
    order = np.random.default_rng(seed).permutation(len(counts))
    order = order[np.argsort(-counts[order].sum(axis=1), kind="stable")]
    fold = np.full(len(counts), -1, dtype=np.int64)
    filled = np.zeros((folds, counts.shape[1]))
    for group in order[can_be_held[order]]:
        own = np.flatnonzero(counts[group])
        load = (filled[:, own] / total[own]).sum(axis=1) + 1e-9 * filled.sum(axis=1)
        fold[group] = int(load.argmin())
        filled[fold[group]] += counts[group]
    return fold


def class_counts(labels: Integers, numbers: Integers) -> Integers:
    """(G, C), how many images of each class every group has."""
    groups, classes = int(numbers.max(initial=-1)) + 1, int(labels.max(initial=-1)) + 1
    return np.bincount(numbers * classes + labels, minlength=groups * classes).reshape(groups, classes)
