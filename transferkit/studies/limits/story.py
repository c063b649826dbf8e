"""The whole limits report: a finished run, images from elsewhere, one pass of the network, then arithmetic."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from transferkit import report as pages
from transferkit.features.engine import memory_notes
from transferkit.metrics.evaluation import scores_on_test
from transferkit.metrics.outputs import Outputs
from transferkit.runs import result_folders
from transferkit.runs.result_folders import LIMITS
from transferkit.runs.run_directory import LIMITS_FOLDER, Run
from transferkit.runs.same_work import mark_of
from transferkit.runtime import folders
from transferkit.runtime.array_types import Floats
from transferkit.runtime.console import Console
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.extras import Extras
from transferkit.runtime.files import write_atomically
from transferkit.runtime.json_files import JsonObject
from transferkit.runtime.records import as_json
from transferkit.studies.limits import abstaining, gallery, image_sets, in_distribution
from transferkit.studies.limits.contamination import own_images
from transferkit.studies.limits.corruption_severity import Corrupted, measure_corruptions
from transferkit.studies.limits.deployment import DeploymentImages, measure_deployment
from transferkit.studies.limits.detectors import Detectors, OwnScores, fit_detectors, thresholds_of
from transferkit.studies.limits.distribution_shift import Shift, ShiftReport, load_shift, measure_shift
from transferkit.studies.limits.error_slices import measure_slices, with_pictures
from transferkit.studies.limits.image_sets import ImageSet
from transferkit.studies.limits.leave_out import measure_leave_out
from transferkit.studies.limits.nonsense import measure_nonsense
from transferkit.studies.limits.nuisance import measure_sweeps
from transferkit.studies.limits.open_world import open_world_report
from transferkit.studies.limits.out_of_distribution import ScoredSet, score_set, unknown_report
from transferkit.studies.limits.rendering import write_limits
from transferkit.studies.limits.report import LimitsReport, write_gallery
from transferkit.studies.limits.settings import LimitsSettings
from transferkit.studies.limits.subject import LimitsSubject, open_subject
from transferkit.studies.limits.summary import summary


@dataclass(frozen=True)
class Work:
    """How a report is made, whatever it is about.

    Attributes:
        device: auto, cpu, cuda, cuda:1 or mps.
        console: Shows progress.
        command: For the page.
        overwrite: Replace a report in the folder.
    """

    device: str
    console: Console
    command: str = ""
    overwrite: bool = False


@dataclass(frozen=True)
class ElsewhereImages:
    """Everything from elsewhere but the run's own images, before the network looks at any.

    Attributes:
        unknown: Sets of classes that the model does not know.
        shifts: Other images of its own classes.
        field: Unlabelled images from where it is to be used, if there are any.
    """

    unknown: tuple[ImageSet, ...]
    shifts: tuple[Shift, ...]
    field: ImageSet | None

    @property
    def notes(self) -> list[str]:
        """What was noticed while the images were loaded."""
        sets = [*self.unknown, *(shift.image_set for shift in self.shifts), *([self.field] if self.field else [])]
        return [note for image_set in sets for note in image_set.notes]


@dataclass(frozen=True)
class Observations:
    """What the network and the detectors said about every image set: all that is counted later.

    Attributes:
        detectors: Fitted on train.
        own: Scores of the run's val and test images.
        scored_sets: Sets of unknown images.
        shifts: Other images of the run's classes, counted, with their outputs.
        corruptions: What they do.
        field: Unlabelled images, if there are any.
        notes: Lines that the report must show.
    """

    detectors: Detectors
    own: OwnScores
    scored_sets: list[ScoredSet]
    shifts: list[tuple[ShiftReport, Outputs]]
    corruptions: Corrupted
    field: DeploymentImages | None
    notes: list[str]


def measure_limits(run: Run, settings: LimitsSettings, out: Path | None, work: Work) -> LimitsReport:
    """Test a finished run, and leave limits.json, pages, scores and pictures in a folder; answers are stored.

    Raises:
        TransferkitError: If the run, its images or the images to test with do not allow it.
    """
    folder, asked = out or run.path / LIMITS_FOLDER, asked_of(run, settings)
    if result_folders.is_done(folder, LIMITS, asked, overwrite=work.overwrite, console=work.console):
        return replace(LimitsReport.read(folder), folder=str(folder))
    may_replace = work.overwrite or is_asked_for_more(folder, run, settings)
    with result_folders.claim(folder, LIMITS, overwrite=may_replace, content=asked):
        return write_report(run, settings, folder, work)


def asked_of(run: Run, settings: LimitsSettings) -> JsonObject:
    """All that a report depends on."""
    return {**mark_of(run), "settings": as_json(settings)}


def is_asked_for_more(folder: Path, run: Run, settings: LimitsSettings) -> bool:
    """Whether a run's report would be made again, perhaps with more images from elsewhere: nothing is lost."""
    if folders.kind_of(folder) != LIMITS.name or not LIMITS.is_finished(folder):
        return False
    try:
        report = LimitsReport.read(folder)
    except TransferkitError:
        return False
    if report.contract.run != run.path.resolve().name:
        return False
    earlier = report.settings
    is_kept = set(earlier.ood) <= set(settings.ood) and set(earlier.shift) <= set(settings.shift)
    field = earlier.field or settings.field
    return is_kept and replace(earlier, ood=settings.ood, shift=settings.shift, field=field) == settings


def write_report(run: Run, settings: LimitsSettings, folder: Path, work: Work) -> LimitsReport:
    """The report, written to a folder that may be written to."""
    started, clock = datetime.now(UTC).isoformat(timespec="seconds"), time.perf_counter()
    require_sources(settings)
    subject = open_subject(run, settings.train_images, settings.seed, work.device, work.console)
    elsewhere = load_elsewhere(subject, settings, work.console)
    observations = observe(subject, elsewhere, settings, work.console)
    measured = measure(subject, observations, settings, work)
    album = gallery.make_album(subject, observations.scored_sets, observations.field)
    strips = gallery.strip_rows(observations.corruptions.strips, album)
    slices = with_pictures(measured.slices, subject, album)
    report = replace(
        measured,
        notes=(*measured.notes, *memory_notes(subject.runtime.device, [subject.classifier.backbone])),
        slices=slices,
        made=started,
        gallery=tuple(album.groups),
        strips=tuple(strips),
        summary=summary(measured, settings.rules),
        seconds=round(time.perf_counter() - clock, 1),
        folder=str(folder),
    )
    result_folders.clear_results(folder)
    write_gallery(folder, album.pixels)
    write_scores(folder / "scores.npz", subject, observations)
    report.write(folder)
    write_limits(folder)
    result_folders.write_asked(folder, LIMITS, asked_of(run, settings))
    if folder == run.path / LIMITS_FOLDER:
        Extras(work.console).attempt("link from the run's page", lambda: pages.write(run))
    return report


def require_sources(settings: LimitsSettings) -> None:
    """Check every name and folder before any work.

    Raises:
        TransferkitError: If there is no such data set or folder.
    """
    for source in (*settings.ood, *settings.shift):
        image_sets.require(source)
    for folder in (settings.field, settings.cifar10c):
        if folder is not None:
            image_sets.existing(folder)


# ---- images from elsewhere ----


def load_elsewhere(subject: LimitsSubject, settings: LimitsSettings, console: Console) -> ElsewhereImages:
    """Load all images, so that a slip shows at once, and remove the run's own from among them."""
    unknown = load_unknown(subject, settings, console)
    shifts = [load_shift(source, subject, settings, console) for source in settings.shift]
    field = load_field(subject, settings, console)
    for image_set in (*unknown, *(shift.image_set for shift in shifts), *([field] if field else [])):
        image_sets.require_bands(image_set, subject.bands)
    if not (unknown or shifts or field):
        return ElsewhereImages((), (), None)
    own = own_images(subject)
    return ElsewhereImages(
        tuple(own.removed_from(image_set) for image_set in unknown),
        tuple(replace(shift, image_set=own.removed_from(shift.image_set)) for shift in shifts),
        own.removed_from(field) if field else None,
    )


def load_unknown(subject: LimitsSubject, settings: LimitsSettings, console: Console) -> list[ImageSet]:
    """The sets of unknown images, at the run's size, without dropped classes.

    Raises:
        TransferkitError: If two sets have the same name, or a class to drop is in none of them.
    """
    dropped = image_sets.dropped_classes(settings.drop_classes)
    sets = [
        image_sets.load(source, subject.side_px, settings.max_images, settings.seed, console, subject.fit)
        for source in settings.ood
    ]
    names = [image_set.name for image_set in sets]
    if twice := {name for name in names if names.count(name) > 1}:
        raise TransferkitError(f"Two sets are called {sorted(twice)[0]!r}. Name them, as in --ood NAME=FOLDER.")
    image_sets.require_dropped(sets, dropped)
    return [image_sets.without_classes(image_set, dropped) for image_set in sets]


def load_field(subject: LimitsSubject, settings: LimitsSettings, console: Console) -> ImageSet | None:
    """The images from where the model is to be used; None where none were given."""
    folder = settings.field
    if folder is None:
        return None
    name, limit = folder.resolve().name, settings.max_images
    return image_sets.load_folder(folder, name, subject.side_px, limit, settings.seed, console, subject.fit)


# ---- one pass of the network ----


def observe(
    subject: LimitsSubject, elsewhere: ElsewhereImages, settings: LimitsSettings, console: Console
) -> Observations:
    """Ask the network about all images, and the detectors."""
    detectors = fit_detectors(subject)
    own = OwnScores(detectors.of(subject.val, "val"), detectors.of(subject.test, "test"))
    scored_sets = [score_set(image_set, subject, detectors) for image_set in elsewhere.unknown]
    shifts = [measure_shift(shift, subject) for shift in elsewhere.shifts]
    field = observe_field(elsewhere.field, subject, settings)
    corruptions = measure_corruptions(subject, settings, console)
    notes = [*subject.notes, *elsewhere.notes]
    return Observations(detectors, own, scored_sets, shifts, corruptions, field, notes)


def observe_field(
    image_set: ImageSet | None, subject: LimitsSubject, settings: LimitsSettings
) -> DeploymentImages | None:
    """What the network says of images from the field; None where none were given."""
    if image_set is None:
        return None
    return DeploymentImages(image_set, subject.store.outputs(image_set.images, image_set.name), settings.seed)


# ---- arithmetic, and classes left out ----


def measure(subject: LimitsSubject, observations: Observations, settings: LimitsSettings, work: Work) -> LimitsReport:
    """The report without pictures and summary."""
    console = work.console
    scores = scores_on_test(subject.test, subject.val)
    detectors, own, scored_sets = observations.detectors, observations.own, observations.scored_sets
    thresholds = thresholds_of(own.val)
    held_out = measure_leave_out(subject, settings.leave_out, settings.seed, console)
    shifts, field = [row for row, _ in observations.shifts], observations.field
    return LimitsReport(
        command=work.command,
        settings=settings,
        notes=tuple(observations.notes),
        contract=in_distribution.contract(subject),
        test=in_distribution.own_test(subject, scores),
        calibration=in_distribution.calibration(subject, scores),
        selective=abstaining.selective(subject, settings.target_risk, scores.selective),
        conformal=abstaining.conformal_rows(subject),
        corruptions=observations.corruptions.report,
        shift=tuple(shifts),
        unknown=unknown_report(scored_sets, subject, detectors, own),
        leave_out=held_out,
        nonsense=measure_nonsense(subject, detectors, thresholds, settings.seed, console),
        nuisance=measure_sweeps(subject, settings.seed, console) if settings.sweeps else None,
        open_world=open_world_report(scored_sets, held_out, subject, own, thresholds, settings),
        field=measure_deployment(field, subject, shifts) if field else None,
        slices=measure_slices(subject, settings.seed),
    )


def write_scores(path: Path, subject: LimitsSubject, observations: Observations) -> None:
    """Every score, label, prediction and id, for readers who want to compute something else."""
    arrays: dict[str, npt.NDArray[Any]] = dict(observations.corruptions.arrays)
    parts: list[tuple[str, Outputs, Mapping[str, Floats]]] = [
        ("val", subject.val, observations.own.val),
        ("test", subject.test, observations.own.test),
        *((part.name, part.outputs, part.scores) for part in observations.scored_sets),
        *((f"shift: {row.name}", outputs, {}) for row, outputs in observations.shifts),
    ]
    for name, outputs, scores in parts:
        arrays |= {f"{name}.{score}": values for score, values in scores.items()}
        arrays |= {f"{name}.prediction": outputs.predictions, f"{name}.ids": np.array(outputs.ids)}
        arrays |= {} if outputs.labels is None else {f"{name}.label": outputs.labels}
        arrays |= {} if outputs.groups is None else {f"{name}.groups": np.array(outputs.groups)}
    arrays |= {f"{part.name}.label": part.image_set.images.require_labels() for part in observations.scored_sets}

    def save(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]

    write_atomically(path, save)
