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

from transferkit import ood
from transferkit.metrics.evaluation import evaluate, without_nan
from transferkit.metrics.open_set import open_world
from transferkit.metrics.outputs import Outputs
from transferkit.metrics.thresholds import threshold_at
from transferkit.runs import result_folders
from transferkit.runs.result_folders import LIMITS
from transferkit.runs.run_directory import LIMITS_FOLDER, Run
from transferkit.runtime.console import Console
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.files import write_arrays, write_atomically, write_json
from transferkit.runtime.json_files import SCHEMAS
from transferkit.studies.limits import deployment as field
from transferkit.studies.limits import distribution_shift as shifted
from transferkit.studies.limits import gallery, image_sets, published
from transferkit.studies.limits import in_distribution as known
from transferkit.studies.limits import out_of_distribution as unknown
from transferkit.studies.limits.contamination import overlap, own_images
from transferkit.studies.limits.corrupted import Corrupted, corrupted, is_cifar10
from transferkit.studies.limits.deployment import InTheField
from transferkit.studies.limits.image_sets import ImageSet
from transferkit.studies.limits.leave_out import leave_out
from transferkit.studies.limits.meaningless import meaningless
from transferkit.studies.limits.out_of_distribution import Detectors, Told, accepted_of
from transferkit.studies.limits.report import write_limits
from transferkit.studies.limits.settings import Settings
from transferkit.studies.limits.shares import bounds
from transferkit.studies.limits.subject import Subject, open_subject
from transferkit.studies.limits.summary import summary
from transferkit.studies.limits.sweeps import sweeps

Floats = npt.NDArray[np.float64]
Own = Mapping[str, Mapping[str, Floats]]


@dataclass(frozen=True)
class Seen:
    """What the network and the detectors said about every image set: all that is counted later.

    Attributes:
        detectors: Fitted on train.
        own: Scores of the run's val and test images.
        told: Sets of unknown images.
        shifts: Other images of the run's classes, counted, with their outputs.
        corruptions: What they do.
        field: Unlabelled images, if there are any.
        notes: Lines that the report must show.
    """

    detectors: Detectors
    own: Own
    told: list[Told]
    shifts: list[tuple[dict[str, Any], Outputs]]
    corruptions: Corrupted
    field: InTheField | None
    notes: list[str]


def make(
    run: Run, settings: Settings, out: Path | None, *, overwrite: bool, device: str, console: Console, command: str = ""
) -> dict[str, Any]:
    """Test a finished run, and leave limits.json, pages, scores and pictures in a folder; outputs are stored there too.

    Raises:
        TransferkitError: If the run, its images or the images to test with do not allow it.
    """
    folder = out or run.path / LIMITS_FOLDER
    with result_folders.claimed(folder, LIMITS, overwrite=overwrite):
        report = made_report(run, settings, folder, device, console, command)
    return {**report, "folder": str(folder)}


def made_report(
    run: Run, settings: Settings, folder: Path, device: str, console: Console, command: str
) -> dict[str, Any]:
    """The report's content, written to a folder that may be written to."""
    started, clock = datetime.now(UTC).isoformat(timespec="seconds"), time.perf_counter()
    require_sources(settings)
    subject = open_subject(run, folder, settings.train_images, settings.seed, device, console)
    seen = look(subject, settings, console)
    pictures = gallery.album(subject, seen.told, seen.field)
    strips = gallery.strip_rows(seen.corruptions.strips, pictures)
    report: dict[str, Any] = {
        "schema": SCHEMAS["limits.json"],
        "command": command,
        "made": started,
        "seed": settings.seed,
        "settings": settings.as_dict(),
        "rules": settings.rules.as_dict(),
        **count(subject, seen, settings, console),
        "gallery": pictures.groups,
        "strips": strips,
    }
    report["summary"] = summary(report, settings.rules)
    report["seconds"] = round(time.perf_counter() - clock, 1)
    report = without_nan(report)
    result_folders.clear(folder, LIMITS)
    write_arrays(folder / "pictures.safetensors", {"pixels": pictures.pixels})
    write_scores(folder / "scores.npz", subject, seen)
    write_json(folder / "limits.json", report)
    write_limits(folder)
    return report


def require_sources(settings: Settings) -> None:
    """Check every name and folder before any work.

    Raises:
        TransferkitError: If there is no such data set or folder.
    """
    for source in (*settings.ood, *settings.shift):
        image_sets.require(source)
    for folder in (settings.field, settings.cifar10c):
        if folder is not None:
            image_sets.existing(folder)


def look(subject: Subject, settings: Settings, console: Console) -> Seen:
    """Load all images, so that a slip shows at once; then ask the network about them, and the detectors."""
    sets, shifts, field_set = image_sets_of(subject, settings, console)
    detectors = unknown.fit_detectors(subject)
    own = {"val": detectors.of(subject.val, "val"), "test": detectors.of(subject.test, "test")}
    told = [tell(found, subject, detectors) for found in sets]
    shifted_rows = [shifted.report(shift, subject) for shift in shifts]
    in_the_field = seen_in_the_field(field_set, subject, settings)
    notes = [*subject.notes, *notes_of(sets, shifts, field_set)]
    return Seen(detectors, own, told, shifted_rows, corrupted(subject, settings, console), in_the_field, notes)


def count(subject: Subject, seen: Seen, settings: Settings, console: Console) -> dict[str, Any]:
    """Every section of limits.json but the summary."""
    scores = evaluate(subject.test, subject.val)["test"]
    held_out = leave_out(subject, settings.leave_out, settings.seed, console)
    return {
        "notes": seen.notes,
        "contract": known.contract(subject),
        "test": known.own_test(subject, scores),
        "calibration": known.calibration(subject, scores),
        "selective": known.selective(subject.val, subject.test, subject.limits, settings.target_risk, scores),
        "conformal": known.conformal_rows(subject),
        "corruptions": seen.corruptions.report,
        "shift": [row for row, _ in seen.shifts],
        "unknown": unknown_report(seen.told, subject, seen.detectors, seen.own),
        "leave_out": held_out,
        "nonsense": meaningless(subject, seen.detectors, thresholds(seen.own), settings.seed, console),
        "nuisance": sweeps(subject, settings.seed, console) if settings.sweeps else None,
        "open_world": open_world_report(seen.told, held_out, subject, seen.own, settings),
        "field": field.report(seen.field, subject, [row for row, _ in seen.shifts]) if seen.field else None,
    }


def image_sets_of(
    subject: Subject, settings: Settings, console: Console
) -> tuple[list[ImageSet], list[shifted.Shift], ImageSet | None]:
    """Everything from elsewhere but the run's own images, before the network looks at any: a slip shows at once."""
    sets = unknown_sets(subject, settings, console)
    shifts = [shifted.load(source, subject, settings, console) for source in settings.shift]
    field_set = None
    if settings.field is not None:
        field_set = image_sets.load_folder(
            settings.field,
            settings.field.resolve().name,
            subject.side_px,
            settings.max_images,
            settings.seed,
            console,
            subject.fit,
        )
    if not (sets or shifts or field_set):
        return [], [], None
    own = own_images(subject)
    return (
        [own.removed_from(image_set) for image_set in sets],
        [replace(shift, found=own.removed_from(shift.found)) for shift in shifts],
        own.removed_from(field_set) if field_set else None,
    )


def notes_of(sets: list[ImageSet], shifts: list[shifted.Shift], field_set: ImageSet | None) -> list[str]:
    """What was noticed while the images were loaded."""
    found = [*sets, *(shift.found for shift in shifts), *([field_set] if field_set else [])]
    return [note for each in found for note in each.notes]


def seen_in_the_field(found: ImageSet | None, subject: Subject, settings: Settings) -> InTheField | None:
    """What the network says of images from the field; None where none were given."""
    if found is None:
        return None
    return InTheField(found, subject.store.outputs(found.images, found.name), settings.seed)


def unknown_sets(subject: Subject, settings: Settings, console: Console) -> list[ImageSet]:
    """The sets of unknown images, at the run's size, without dropped classes.

    Raises:
        TransferkitError: If two sets have the same name, or a class to drop is in none of them.
    """
    dropped = image_sets.dropped_classes(settings.drop_classes)
    found = [
        image_sets.load(source, subject.side_px, settings.max_images, settings.seed, console, subject.fit)
        for source in settings.ood
    ]
    names = [each.name for each in found]
    if twice := {name for name in names if names.count(name) > 1}:
        raise TransferkitError(f"Two sets are called {sorted(twice)[0]!r}. Name them, as in --ood NAME=FOLDER.")
    image_sets.require_dropped(found, dropped)
    return [image_sets.without_classes(each, dropped) for each in found]


def tell(found: ImageSet, subject: Subject, detectors: Detectors) -> Told:
    """What the network and the detectors say about a set, at the run's size and in its own."""
    outputs = subject.store.outputs(found.images, found.name)
    native = None
    if found.native is not None and len(found.native):
        native = detectors.of(subject.store.outputs(found.native, f"{found.name}, own size"), found.name)
    guard = overlap(found, outputs, subject)
    return Told(found.name, found, outputs, detectors.of(outputs, found.name), native, guard)


def unknown_report(told: list[Told], subject: Subject, detectors: Detectors, own: Own) -> dict[str, Any]:
    """All sets of unknown images with every score, and the means over near and far ones."""
    names = list(detectors.scores)
    sets = [unknown.external(each, subject, detectors, own) for each in told]
    return {
        "scores": names,
        "summary_score": ood.summary_score(names),
        "off": dict(detectors.off),
        "notes": {name: list(score.notes) for name, score in detectors.scores.items() if score.notes},
        "sets": sets,
        "means": unknown.means(sets, names),
        "published": published_report(told, subject) if is_cifar10(subject) else None,
    }


def published_report(told: list[Told], subject: Subject) -> dict[str, Any]:
    """OpenOOD's means, its rows for sets of the same name, and why ours may differ."""
    by_set = {each.name: row for each in told if (row := published.of_set(each.name))}
    return {**published.MEANS, "by_set": by_set, "differences": published.differences(subject)}


def thresholds(own: Own) -> dict[str, float | None]:
    """The threshold of every detector that accepts 95 % of val."""
    return {name: threshold_at(scores) for name, scores in own["val"].items()}


def open_world_report(
    told: list[Told], held_out: Mapping[str, Any], subject: Subject, own: Own, settings: Settings
) -> dict[str, Any]:
    """The decision table for every set and the held-out classes, with the shipped threshold and the summary score's."""
    score = ood.summary_score(own["test"])
    wrong = subject.test.predictions != subject.test.labels
    tables: dict[str, Any] = {"target": settings.target_risk, "prevalence": list(settings.prevalence), "tables": []}
    for name, threshold in {"shipped": None, score: thresholds(own)}.items():
        limit = subject.limits.threshold() if threshold is None else threshold[name]
        if limit is None:
            continue
        accepted = accepted_of(subject, subject.test)[0] if threshold is None else own["test"][name] <= limit
        members = {
            each.name: accepted_of(subject, each.outputs)[0] if threshold is None else each.scores[name] <= limit
            for each in told
        }
        rows = [{"kind": "set", **open_world_row(*each, accepted, wrong, settings)} for each in members.items()]
        left_out = accepted_when_held_out(held_out, subject.limits.score if threshold is None else name)
        if left_out is not None:
            title = f"held-out classes ({len(held_out['rows'])})"
            rows.append({"kind": "held out", **open_world_row(title, left_out, accepted, wrong, settings)})
        error = float(wrong[accepted].mean()) if accepted.any() else None
        facts = {"score": name, "known_accepted": float(accepted.mean()), "known_error": error}
        tables["tables"].append({**facts, "rows": rows})
    return tables


def accepted_when_held_out(held_out: Mapping[str, Any], score: str) -> npt.NDArray[np.bool_] | None:
    """Whether each image of a class was accepted by the model that did not know the class; None where not counted."""
    counts = [row["scores"].get(score, {}).get("accepted") for row in held_out.get("rows", [])]
    if not counts or any(count is None for count in counts):
        return None
    hits, n = (sum(int(count[key]) for count in counts) for key in ("hits", "n"))
    return np.arange(n) < hits


def open_world_row(
    name: str,
    members: npt.NDArray[np.bool_],
    accepted: npt.NDArray[np.bool_],
    wrong: npt.NDArray[np.bool_],
    settings: Settings,
) -> dict[str, Any]:
    """The error among accepted images at each share of unknown inputs, and the largest share that is safe."""
    found = open_world(accepted, ~wrong, members, settings.prevalence, settings.target_risk, settings.seed)
    cells = [
        {"prevalence": share, "error": error[0], "interval": bounds(error[1])}
        if error
        else {"prevalence": share, "error": None, "interval": None}
        for share, error in found.error.items()
    ]
    return {
        "set": name,
        "n": len(members),
        "accepted_unknown": found.ood_accepted.value,
        "cells": cells,
        "safe_prevalence": found.safe_prevalence,
        "safe_interval": bounds(found.safe_interval),
    }


def write_scores(path: Path, subject: Subject, seen: Seen) -> None:
    """Every score, label, prediction and id, for readers who want to compute something else."""
    arrays: dict[str, npt.NDArray[Any]] = dict(seen.corruptions.arrays)
    parts: list[tuple[str, Outputs, Mapping[str, Floats]]] = [
        ("val", subject.val, seen.own["val"]),
        ("test", subject.test, seen.own["test"]),
        *((each.name, each.outputs, each.scores) for each in seen.told),
        *((f"shift: {row['name']}", outputs, {}) for row, outputs in seen.shifts),
    ]
    for name, outputs, scores in parts:
        arrays |= {f"{name}.{score}": values for score, values in scores.items()}
        arrays |= {f"{name}.prediction": outputs.predictions, f"{name}.ids": np.array(outputs.ids)}
        arrays[f"{name}.label"] = outputs.labels
    arrays |= {f"{each.name}.label": each.found.images.labels for each in seen.told}

    def save(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]

    write_atomically(path, save)
