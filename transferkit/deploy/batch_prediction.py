"""Answers to any number of images: shown as they come, kept after a kill, written to files, sorted into folders."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from transferkit.deploy import answer_files, sorting
from transferkit.deploy.answer_rows import Journal, Tally, row, tally
from transferkit.deploy.answers import Answer, PredictionTask, answer
from transferkit.deploy.prediction import require_acceptance
from transferkit.features.extraction.listing import Listing, ListingPart
from transferkit.features.extraction.streaming import prepare_partial_folder
from transferkit.features.keys import versions
from transferkit.runtime import folders
from transferkit.runtime.console import Console
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.files import claim, parts_folder, require_free, write_atomically, write_text

KIND = "predictions being made"
FORMAT = 1  # of the journal
JOURNAL = "answers.jsonl"


@dataclass(frozen=True)
class Voice:
    """How a person hears of the work: words, a progress bar, and the answers to each batch as they come."""

    console: Console
    bar: Console
    show: Callable[[Sequence[Answer]], None]


@dataclass(frozen=True)
class Targets:
    """Where answers go.

    Attributes:
        out: .csv, .jsonl or .parquet.
        html: A page of thumbnails.
        sort_into: A folder for copies of the images, by answer.
        overwrite: Replace the files, and begin anew where an unfinished one has other settings.
    """

    out: Path | None = None
    html: Path | None = None
    sort_into: Path | None = None
    overwrite: bool = False

    def require(self, words: Sequence[str]) -> None:
        """Refuse what cannot be written, before any work.

        Raises:
            TransferkitError: If the kind of file is unknown, a file exists or is being made, or copies would lie among
                the originals.
        """
        if self.out:
            answer_files.require_known(self.out)
            folders.require_kind(parts_folder(self.out), KIND)
            folders.require_idle(parts_folder(self.out))
        if self.html and self.html.suffix.lower() not in (".html", ".htm"):
            raise TransferkitError(f"--html names {self.html.name!r}, which is no page. Let it end in .html.")
        for option, path in (("--out", self.out), ("--html", self.html)):
            if path:
                require_free(path, self.overwrite, option)
        if self.sort_into:
            sorting.require_apart(self.sort_into, words)


def answer_all(task: PredictionTask, targets: Targets, voice: Voice) -> Tally:
    """Answer all images of a source; where `targets.out` was begun before, go on where it was stopped.

    Raises:
        TransferkitError: If there are no images, or a file or folder cannot be written; before any answer.
    """
    require_acceptance(task.settings.acceptance)
    if targets.sort_into and not task.source.is_files:
        raise TransferkitError(f"--sort-into copies files, and {task.source.name} has none. Leave it out.")
    with _workspace(targets.out) as folder, claim(targets.html, targets.overwrite, "--html"):
        listing = task.source.listed(folder)
        prepare_partial_folder(folder, _facts(task, listing), targets.overwrite, voice.console)
        journal = Journal(folder / JOURNAL)
        _answer_missing(task, listing, journal, voice)
        counts = tally(journal.read())
        _write_targets(targets, task, listing, journal, counts)
    return counts


@contextmanager
def _workspace(out: Path | None) -> Iterator[Path]:
    """A folder for listing and journal: beside `out` until that is complete, else for the moment."""
    if out is None:
        with tempfile.TemporaryDirectory(prefix="transferkit-") as folder:
            yield Path(folder)
        return
    partial = parts_folder(out)
    with folders.hold(partial, KIND):
        try:
            yield partial
        except BaseException:
            if (partial / JOURNAL).exists():
                raise
            folders.remove(partial)  # there is no answer to keep yet
            raise
        folders.remove(partial)


@dataclass(frozen=True)
class AnswerFacts:
    """What decides the answers: the run with the digest of its model, the images and their listing, and settings."""

    format: int
    run: str
    model: str
    images: str
    listing: str
    acceptance: float
    top: int
    precision: str
    device: str
    versions: dict[str, str]


def _facts(task: PredictionTask, listing: Listing) -> AnswerFacts:
    model, settings = task.model, task.settings
    return AnswerFacts(
        FORMAT,
        run=str(model.folder),
        model=_digest(model.folder),
        images=task.source.name,
        listing=listing.digest,
        acceptance=settings.acceptance,
        top=settings.top,
        precision=model.fast.engine.network.precision,
        device=model.runtime.device.type,
        versions=versions(),
    )


def _digest(run: Path | None) -> str:
    """Of weights and thresholds; empty for a model that lies in no run."""
    if run is None:
        return ""
    digest = hashlib.sha256()
    for name in ("model.safetensors", "model.json"):
        digest.update((run / name).read_bytes())
    return digest.hexdigest()


def _answer_missing(task: PredictionTask, listing: Listing, journal: Journal, voice: Voice) -> None:
    """Answer what the journal does not hold yet; never more than a few batches are in memory."""
    done = journal.count()
    if done:
        voice.console.line(f"{done:,} of {listing.total:,} images are answered already; going on with the others.")
    missing = ListingPart(listing.file, done, listing.total - done)
    with voice.bar.progress("predict", missing.count) as progress:
        for answers in answer(task, missing):
            journal.append(row(entry, task.settings.top) for entry in answers)
            voice.show(answers)
            progress.advance(len(answers))


def _write_targets(targets: Targets, task: PredictionTask, listing: Listing, journal: Journal, counts: Tally) -> None:
    """Copies first and the file of answers last, because that means that all is there."""
    if targets.sort_into:
        sorting.copy_into(targets.sort_into, journal.read(), task.model.class_names)
    if targets.html:
        from transferkit.deploy.answer_page import answer_page

        write_text(targets.html, answer_page(task, listing, journal, counts))
    if out := targets.out:
        folders.remove_partial_files(out)
        write = answer_files.WRITERS[out.suffix]
        write_atomically(out, lambda temporary: write(temporary, journal.read(), task.settings.top))
