"""From labelled images to train and val, and to a test part where there is none: by class, by group, by seed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from transferkit.data.groups import group_ranks, held_out, in_turns
from transferkit.data.images import Images, Labels, SealedImages, Splits, aligned, require_every_class
from transferkit.recipe import DataSettings


def carved(pool: Images, test: Images, settings: DataSettings) -> Splits:
    """Train and val carved from the pool, test sealed.

    Raises:
        TransferkitError: If the class names of pool and test differ, or a class is left without training image.
    """
    return split(
        pool,
        test,
        val_fraction=settings.val_fraction,
        limit_per_class=settings.limit_per_class,
        seed=settings.carving_seed,
    )


def split(pool: Images, test: Images, *, val_fraction: float, limit_per_class: int | None, seed: int) -> Splits:
    """Carve val from the labelled pool, keep at most `limit_per_class` labels, seal the test images.

    Each class of the pool is put in one seeded order. The limit keeps the first images of that order and val takes
    evenly spaced positions of it, so smaller limits are subsets of larger ones in train and in val alike. Where images
    have groups, a group lies in train or in val as a whole.

    Raises:
        TransferkitError: If the class names of pool and test differ, or a class is left without training image.
    """
    test = aligned(test, pool.class_names)
    carve = _carved_images if pool.groups is None else _carved_groups
    train_indices, val_indices = carve(pool, val_fraction, limit_per_class, np.random.default_rng(seed))
    require_every_class(pool.class_names, [len(indices) for indices in train_indices])
    train = pool.subset(np.sort(np.concatenate(train_indices)))
    return Splits(train, pool.subset(np.sort(np.concatenate(val_indices))), SealedImages(test))


def _carved_images(
    pool: Images, val_fraction: float, limit: int | None, generator: np.random.Generator
) -> tuple[list[Labels], list[Labels]]:
    """The train and the val images of each class."""
    train_indices, val_indices = [], []
    for label in range(len(pool.class_names)):
        order = generator.permutation(np.flatnonzero(pool.require_labels() == label))[:limit]
        is_val = val_positions(len(order), val_fraction)
        train_indices.append(order[~is_val])
        val_indices.append(order[is_val])
    return train_indices, val_indices


def _carved_groups(
    pool: Images, val_fraction: float, limit: int | None, generator: np.random.Generator
) -> tuple[list[Labels], list[Labels]]:
    """The train and the val images of each class, whole groups in either; the limit takes images of groups in turn."""
    assert pool.groups is not None
    ranks = group_ranks(pool.groups, generator)
    is_val = held_out(pool.require_labels(), ranks, val_fraction)
    members = (np.flatnonzero(pool.require_labels() == label) for label in range(len(pool.class_names)))
    orders = [in_turns(of_class, ranks, generator)[:limit] for of_class in members]
    return [order[~is_val[order]] for order in orders], [order[is_val[order]] for order in orders]


def val_positions(n: int, fraction: float) -> npt.NDArray[np.bool_]:
    """(n,), True where a class's ordered image belongs to val: evenly spaced, never the first.

    Example:
        >>> val_positions(6, 0.5)
        array([False,  True, False,  True, False,  True])
    """
    positions = np.arange(n)
    taken: npt.NDArray[np.bool_] = np.floor((positions + 1) * fraction + 0.5 - 1e-9) > np.floor(
        positions * fraction + 0.5 - 1e-9
    )
    taken[:1] = False
    return taken


def divided(images: Images, test_fraction: float, settings: DataSettings) -> Splits:
    """Splits of a data set that comes in one piece: a stratified share sealed as test, the rest as `carved`."""
    pool, test = hold_out(images, test_fraction, settings.split_seed)
    return carved(pool, test, settings)


def hold_out(pool: Images, fraction: float, seed: int) -> tuple[Images, Images]:
    """Split off a stratified share of every class, whole groups of it, for a data set that comes without a test part.

    Returns:
        The kept images and the held-out ones.
    """
    generator = np.random.default_rng(seed)
    if pool.groups is not None:
        is_held = held_out(pool.require_labels(), group_ranks(pool.groups, generator), fraction)
        return pool.subset(np.flatnonzero(~is_held)), pool.subset(np.flatnonzero(is_held))
    is_held = np.zeros(len(pool), dtype=bool)
    for label in range(len(pool.class_names)):
        order = generator.permutation(np.flatnonzero(pool.require_labels() == label))
        is_held[order[: round(len(order) * fraction)]] = True
    return pool.subset(np.flatnonzero(~is_held)), pool.subset(np.flatnonzero(is_held))
