"""What heads say of training images that they have not learnt from, for runs with few val images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from transferkit.data.groups import group_folds
from transferkit.data.images import Images
from transferkit.features.cached_outputs import under_head
from transferkit.metrics.outputs import Outputs
from transferkit.recipe import ProbeSettings
from transferkit.training.methods.probe_heads import LabelledFeatures, Solved

FOLDS = 5
MOST_IMAGES = 5_000  # with more, five more heads take minutes

Solve = Callable[[LabelledFeatures, ProbeSettings, int], Solved]


def cross_validated(
    solve: Solve, labelled: LabelledFeatures, images: Images, settings: ProbeSettings, seed: int
) -> Outputs | None:
    """Outputs on train images of heads that have not learnt from them, whole groups held out together.

    Args:
        solve: A classifier on features.
        labelled: Features of train.
        images: Those of train.
        settings: Of the probe, its C chosen.
        seed: Of the folds.

    Returns:
        None where no class has two images, or there are more images than five heads are worth.
    """
    if not 1 < len(images) <= MOST_IMAGES:
        return None
    groups = np.arange(len(images)) if labelled.train_groups is None else labelled.train_groups.numpy()
    folds = group_folds(images.require_labels(), groups, FOLDS, seed)
    parts = [_held_out(solve, labelled, images, settings, seed, folds == fold) for fold in np.unique(folds[folds >= 0])]
    return _joined(parts) if parts else None


def _held_out(
    solve: Solve,
    labelled: LabelledFeatures,
    images: Images,
    settings: ProbeSettings,
    seed: int,
    is_held_out: npt.NDArray[np.bool_],
) -> Outputs:
    kept_in = torch.from_numpy(~is_held_out).to(labelled.train_features.device)
    features, labels = labelled.train_features, labelled.train_labels
    rest = replace(
        labelled,
        train_features=features[kept_in],
        train_labels=labels[kept_in],
        val_features=features[:0],
        val_labels=labels[:0],
        train_groups=None,
    )
    head = solve(rest, settings, seed).honest
    rows = np.flatnonzero(is_held_out)
    return under_head(head, features[~kept_in].cpu().numpy(), images.subset(rows), features.device)


def _joined(parts: list[Outputs]) -> Outputs:
    features, logits, labels = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("features", "logits", "labels")
    )
    ids = tuple(identity for part in parts for identity in part.ids)
    groups = tuple(name for part in parts for name in part.groups or ()) or None
    return Outputs(features, logits, labels, ids, parts[0].class_names, groups)
