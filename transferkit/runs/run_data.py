"""The images of a run as its facts hold them."""

from __future__ import annotations

from transferkit.data import datasets
from transferkit.data.images import Images, SealedImages, Splits
from transferkit.data.split_comparison import split_facts
from transferkit.recipe import DataSettings
from transferkit.runs.facts import Fingerprints, ImageCounts, RunData


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
