"""A finished run and unlabelled images: which of them to label next."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from transferkit.data.duplicates import Sketches, copies, joined, sketches
from transferkit.data.images import Images
from transferkit.deploy.answers import PredictionTask, PredictSettings, task_of
from transferkit.deploy.prediction import load
from transferkit.features.cached_outputs import outputs_of
from transferkit.features.extraction.listing import Listing
from transferkit.runs.own_images import same_images
from transferkit.runs.run_directory import Run
from transferkit.runtime.array_types import Features
from transferkit.runtime.console import Console
from transferkit.runtime.errors import TransferkitError, quoted
from transferkit.runtime.files import claim, write_text
from transferkit.runtime.plurals import counted
from transferkit.studies.next_images.coverage import Picks, pick
from transferkit.studies.next_images.pool import Pool, look_at
from transferkit.studies.next_images.results import NextImage, NextImages


@dataclass(frozen=True)
class KnownImages:
    """Images that a run has already: their features (M, D), and what copies of them are found by."""

    features: Features
    sketches: Sketches


@dataclass(frozen=True)
class NextFiles:
    """Where the choice is written: a CSV, and a page of the same name beside it.

    Attributes:
        csv: Ends in .csv.
        overwrite: Replace both.
    """

    csv: Path
    overwrite: bool = False

    @property
    def page(self) -> Path:
        """The page of thumbnails."""
        return self.csv.with_suffix(".html")

    @contextmanager
    def claim(self) -> Iterator[None]:
        """Refuse what cannot be written, before any work; inside, no other process writes these files.

        Raises:
            TransferkitError: If it is no CSV, one of the files exists, or another process writes them.
        """
        if self.csv.suffix != ".csv":
            raise TransferkitError(f"--out names {self.csv.name!r}, which is no table. Let it end in .csv.")
        with claim(self.csv, self.overwrite), claim(self.page, self.overwrite):
            yield


def next_images(
    run: Run,
    words: Sequence[str],
    count: int,
    console: Console,
    *,
    files: NextFiles | None = None,
    device: str = "auto",
) -> NextImages:
    """Choose the unlabelled images whose labels are likely to help the run most.

    Args:
        run: A finished run.
        words: Where the images are, in the words of `predict`.
        count: How many to choose, at least 1.
        console: For progress.
        files: Where to write the choice; None: nowhere.
        device: auto, cpu, cuda, cuda:1 or mps.

    Raises:
        TransferkitError: If there are no images, none is new, or the run's own images have changed.
    """
    if not isinstance(count, int) or count < 1:
        raise TransferkitError(f"n is {quoted(count)}; expected how many images to choose, at least 1.")
    with files.claim() if files else nullcontext(), tempfile.TemporaryDirectory(prefix="transferkit-") as folder:
        task = task_of(load(run, device), words, PredictSettings(), console)
        own = _own_images(run, task, console)
        listing = task.source.listed(Path(folder))
        chosen = choose(task, listing, own, count, console)
        if files:
            _write(files, task, listing, chosen)
    return chosen


def choose(
    task: PredictionTask, listing: Listing, own: tuple[KnownImages, KnownImages], count: int, console: Console
) -> NextImages:
    """The choice among the images of a listing.

    Args:
        task: Who looks at the images.
        listing: Of the images.
        own: What the run has: its labelled images, which cover others, and its test images.
        count: How many to choose.
        console: For progress.

    Raises:
        TransferkitError: If no image is new.
    """
    everything = look_at(task, listing, console)
    pool = everything.subset(_new(everything, own))
    if not len(pool):
        raise TransferkitError(
            f"0 of {counted(len(everything), 'readable image')} in {task.source.name} "
            "are new: the run has them all "
            "already. Name images that nobody has labelled yet."
        )
    console.line(f"Choosing among {counted(len(pool), 'image')} ...")
    labelled, _ = own
    picks = pick(pool.features, labelled.features, count, pool.sketches.likenesses)
    return NextImages(
        str(task.model.folder),
        task.source.name,
        tuple(_rows(pool, picks, task.model.class_names)),
        len(everything),
        everything.unreadable,
        len(everything) - len(pool),
        picks.left_out,
        len(labelled.sketches),
    )


def _new(pool: Pool, own: Sequence[KnownImages]) -> npt.NDArray[np.int64]:
    """Positions of the images that are no copies of the run's own."""
    pairs = [pair for part in own for pair in copies(part.sketches, pool.sketches, part.features, pool.features)]
    return np.setdiff1d(np.arange(len(pool)), [pair.test for pair in pairs])


def _own_images(run: Run, task: PredictionTask, console: Console) -> tuple[KnownImages, KnownImages]:
    """A run's labelled images, train and val; and those of its test set, none of which may come into training."""
    splits = same_images(run, console)
    parts = [part for part in (splits.train, splits.val) if len(part)]
    features = [_features(task, part, console) for part in parts]
    labelled = KnownImages(np.concatenate(features), joined([sketches(part) for part in parts]))
    if not len(splits.test):
        return labelled, KnownImages(labelled.features[:0], labelled.sketches.subset(slice(0)))
    console.line(
        f"Comparing pictures with the {counted(len(splits.test), 'test image')}, so that none of them gets into train."
    )
    test = splits.test.open()
    return labelled, KnownImages(_features(task, test, console), sketches(test))


def _features(task: PredictionTask, images: Images, console: Console) -> Features:
    model = task.model
    return outputs_of(model.classifier, images, model.runtime, console, "look at the run's images").features


def _rows(pool: Pool, picks: Picks, class_names: Sequence[str]) -> list[NextImage]:
    return [
        NextImage(
            rank,
            int(pool.numbers[position]),
            pool.paths[position],
            tuple(class_names[index] for index in pool.classes[position]),
            tuple(map(float, pool.probabilities[position])),
            float(share),
        )
        for rank, (position, share) in enumerate(zip(picks.positions, picks.shares, strict=True), start=1)
    ]


def _write(files: NextFiles, task: PredictionTask, listing: Listing, chosen: NextImages) -> None:
    """The page first and the CSV last, because that means that both are there."""
    from transferkit.studies.next_images.page import next_page

    write_text(files.page, next_page(task, listing, chosen))
    chosen.write_csv(files.csv)
