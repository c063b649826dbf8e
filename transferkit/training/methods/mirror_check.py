"""Whether images lose when they are mirrored, asked of the classifier that fine-tuning starts from.

Afterwards it could not be told: a network that has learnt from mirrored images answers alike for both.
"""

from __future__ import annotations

from transferkit.data.images import Images
from transferkit.data.mirroring import mirrored_images
from transferkit.features.fast_classifier import collect
from transferkit.metrics.statistics import paired_difference
from transferkit.models.classifier import Classifier
from transferkit.runs.facts import MirrorLoss
from transferkit.runtime.context import Context

ASKED = 2_000  # val images, evenly spread


def loss_by_mirroring(classifier: Classifier, val: Images, context: Context) -> MirrorLoss:
    """How much more often the classifier is right about val images than about their mirror images."""
    asked = val.spread(ASKED)
    pair = [
        collect(classifier, images, context.runtime, context.console, title)
        for images, title in ((asked, "val"), (mirrored_images(asked), "val, mirrored"))
    ]
    as_is, mirrored = ((outputs.predictions == outputs.require_labels())[None] for outputs in pair)
    loss = paired_difference(as_is, mirrored, "images", groups=asked.groups)
    return MirrorLoss(loss.difference, loss.interval.low, loss.interval.high)
