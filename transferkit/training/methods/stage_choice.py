"""How many of a backbone's last stages a linear probe reads."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from transferkit.data.images import Splits
from transferkit.features.layers import PENULTIMATE
from transferkit.features.stored import stored_layers
from transferkit.models.classifier import Classifier
from transferkit.models.pooled_stages import MOST_STAGES, stages_read
from transferkit.recipe import ProbeSettings
from transferkit.runtime.context import Context
from transferkit.training.methods import probe_heads
from transferkit.training.methods.probe_heads import LabelledFeatures


def chosen_stages(
    classifier: Classifier, splits: Splits, settings: ProbeSettings, context: Context
) -> tuple[int, list[str]]:
    """How many of the last stages are read, as asked for or by the smallest held-out log-loss; and that in words.

    Held out is what C is chosen by: val of at least 500 images, else folds of train. Of equals, and where nothing can
    be held out, the fewest stages are read.
    """
    if settings.last_stages != "auto":
        return settings.last_stages, []
    losses = dict(held_out_losses(classifier, splits, settings, context))
    best = min(losses, key=lambda number: losses[number][0])
    if math.isinf(losses[best][0]):
        return 1, ["features of the last stage alone: nothing could be held out to choose by"]
    list_of_losses = ", ".join(f"{number}: {loss:.3f}" for number, (loss, _) in losses.items())
    which = "the last stage" if best == 1 else f"the last {best} stages side by side"
    return best, [f"features of {which}, chosen by the log-loss of {losses[best][1]} ({list_of_losses})"]


def held_out_losses(
    classifier: Classifier, splits: Splits, settings: ProbeSettings, context: Context
) -> Iterator[tuple[int, tuple[float, str]]]:
    """Number of stages, the log-loss in nats of the probe that reads them, and by what it was held out; one pass."""
    most = min(MOST_STAGES, max(1, len(classifier.stages)))
    names = [*stages_read(classifier, most), PENULTIMATE]
    parts = {"train": splits.train, "val": splits.val}
    train, val = (
        stored_layers(
            classifier, images, names, context.runtime, context.console, f"stages of {part}", settings.batch_size
        )
        for part, images in parts.items()
    )
    for number in range(1, most + 1):
        read = names[-number:]
        side_by_side = [np.ascontiguousarray(np.concatenate([part[name] for name in read], 1)) for part in (train, val)]
        labelled = LabelledFeatures.of(splits, side_by_side[0], side_by_side[1], context.runtime)
        choice = probe_heads.chosen(labelled, settings, context.seed)
        yield number, (choice.loss, choice.chosen_by)
