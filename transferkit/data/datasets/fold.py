"""One fold of a cross-validation: a part of train and val that stands in for test, which stays closed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from transferkit.data.groups import folds_of_all
from transferkit.data.images import Images, Splits
from transferkit.data.splitting import split
from transferkit.recipe import DataSettings
from transferkit.runtime.array_types import Integers
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.plurals import counted


def with_fold_as_test(splits: Splits, settings: DataSettings) -> Splits:
    """The splits as they are; with `folds`, those of one fold, whose labelled images are test, val carved anew.

    Raises:
        TransferkitError: If it is not said which fold, there is no such fold, or a class is left without images.
    """
    folds, fold = settings.folds, settings.fold
    if folds is None:
        return splits
    if fold is None or fold > folds:
        raise TransferkitError(
            f"data.folds is {folds} and data.fold is {fold}: one run holds out one of the folds 1 to {folds}. The "
            f"commands finetune, probe and scratch make all of them with --folds {folds} alone."
        )
    pool = splits.train.joined(splits.val) if len(splits.val) else splits.train
    held = fold_of(pool, folds, settings.split_seed) == fold - 1
    learnt, test = pool.subset(np.flatnonzero(~held)), pool.subset(np.flatnonzero(held))
    parts = split(learnt, test, val_fraction=settings.val_fraction, limit_per_class=None, seed=settings.carving_seed)
    note = (
        f"fold {fold} of {folds}: what is called test here are {len(test):,} of the "
        f"{counted(len(pool), 'labelled image')}; the "
        "sealed test part stayed closed"
    )
    return replace(parts, notes=(*splits.notes, note), read_as=splits.read_as, files=splits.files)


def fold_of(pool: Images, folds: int, seed: int) -> Integers:
    """(N,) in 0..folds-1, the fold that holds each image out: classes spread evenly, whole groups where there are any.

    Raises:
        TransferkitError: If there are fewer images, or groups, than folds.
    """
    groups = pool.ids if pool.groups is None else pool.groups
    if len(set(groups)) < folds:
        kind = "images" if pool.groups is None else "groups"
        raise TransferkitError(f"{len(set(groups))} {kind} make no {folds} folds. Use fewer --folds.")
    return folds_of_all(pool.require_labels(), groups, folds, seed)
