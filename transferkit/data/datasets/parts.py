"""From the parts that the user's own data come in to splits: what is missing is split off."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from transferkit.data.datasets.layout import LISTED
from transferkit.data.groups import group_ranks, in_turns
from transferkit.data.images import Images, Splits
from transferkit.data.splitting import hold_out, split
from transferkit.recipe import OwnData
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.plurals import counted


def parted(parts: dict[str, Images], settings: OwnData) -> tuple[Splits, Images, list[str]]:
    """Splits, the test images that they seal, and notes, of train and perhaps val and test.

    Raises:
        TransferkitError: If no test part can be made.
    """
    train, test, notes = _train_and_test(parts, settings)
    return _with_val(train, test, parts.get("val"), settings), test, notes


def _train_and_test(parts: dict[str, Images], settings: OwnData) -> tuple[Images, Images, list[str]]:
    if "test" in parts:
        return parts["train"], parts["test"], []
    train, test = hold_out(parts["train"], settings.test_fraction, settings.split_seed)
    if not len(test) and train.groups is not None:
        raise TransferkitError(
            f"{settings.path} has no test part, and none can be made of whole groups ({_groups_of_classes(train)}). "
            "Every class needs two groups, one to learn from and one to test on. Leave --group out only if images of "
            "one group tell nothing about each other."
        )
    if not len(test):
        raise TransferkitError(
            f"{settings.path} has no test part, and a share of {settings.test_fraction:g} of its "
            f"{counted(len(train), 'image')} is less than one per class. Add images, or raise data.test_fraction."
        )
    whole = "" if test.groups is None else f", {counted(len(set(test.groups)), 'whole group')}"
    share = f"{settings.test_fraction:.0%} of every class ({counted(len(test), 'image')}{whole}) is sealed as test"
    return train, test, [f"no test part in {settings.path}: {share}"]


def _groups_of_classes(images: Images) -> str:
    groups = np.array(images.groups)
    counts = [len(set(groups[images.require_labels() == label])) for label in range(len(images.class_names))]
    counts_in_words = [f"{name} has {count}" for name, count in zip(images.class_names, counts, strict=True)]
    return ", ".join(counts_in_words[:LISTED]) + (", ..." if len(counts_in_words) > LISTED else "")


def _with_val(train: Images, test: Images, val: Images | None, settings: OwnData) -> Splits:
    splits = split(
        train,
        test,
        val_fraction=settings.val_fraction if val is None else 0.0,
        limit_per_class=settings.limit_per_class,
        seed=settings.carving_seed,
    )
    return splits if val is None else replace(splits, val=limited(val, settings.limit_per_class, settings.carving_seed))


def limited(images: Images, limit_per_class: int | None, seed: int) -> Images:
    """At most so many images of each class, of its groups in turn; smaller limits are subsets of larger ones."""
    generator = np.random.default_rng(seed)
    members = [np.flatnonzero(images.require_labels() == label) for label in range(len(images.class_names))]
    if images.groups is None:
        orders = [generator.permutation(of_class) for of_class in members]
    else:
        ranks = group_ranks(images.groups, generator)
        orders = [in_turns(of_class, ranks, generator) for of_class in members]
    return images.subset(np.sort(np.concatenate([order[:limit_per_class] for order in orders])))
