"""The whole limits report: a finished run, images from elsewhere, one pass of the network, then arithmetic."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from transferkit import detection, ood
from transferkit.checkpoint import write_atomically, write_json
from transferkit.errors import TransferkitError
from transferkit.evaluation import without_nan
from transferkit.limitations import image_sets, known, unknown
from transferkit.limitations.corrupted import corrupted
from transferkit.limitations.leave_out import leave_out
from transferkit.limitations.settings import Settings
from transferkit.limitations.shares import bounds
from transferkit.limitations.subject import Subject, open_subject
from transferkit.limitations.summary import summary
from transferkit.limitations.unknown import Detectors, Told, accepted_of
from transferkit.outputs import Outputs
from transferkit.report import write_limits
from transferkit.run_directory import Run
from transferkit.screen import Screen

SCHEMA = 1  # of limits.json
FILES = ("limits.json", "limits.html", "limits.md", "scores.npz")

Floats = npt.NDArray[np.float64]
Own = Mapping[str, Mapping[str, Floats]]


def make(
    run: Run, settings: Settings, out: Path | None, *, overwrite: bool, device: str, screen: Screen, command: str = ""
) -> dict[str, Any]:
    """Test a finished run, and leave limits.json and scores.npz in a folder; outputs are stored there too.

    Raises:
        TransferkitError: If the run, its images or the images to test with do not allow it.
    """
    started, clock = datetime.now(UTC).isoformat(timespec="seconds"), time.perf_counter()
    folder = claim(out or run.path / "limits", overwrite)
    subject = open_subject(run, folder, settings.train_images, settings.seed, device, screen)
    sets = unknown_sets(subject, settings, screen)
    detectors = unknown.fit_detectors(subject)
    own = {"val": detectors.of(subject.val, "val"), "test": detectors.of(subject.test, "test")}
    told = [tell(found, subject, detectors) for found in sets]

    report = {
        "schema": SCHEMA,
        "command": command,
        "made": started,
        "seed": settings.seed,
        "rules": settings.rules.as_dict(),
        "notes": [*subject.notes, *(note for found in sets for note in found.notes)],
        "contract": known.contract(subject),
        "test": known.own_test(subject),
        "calibration": known.calibration(subject),
        "selective": known.selective(subject.val, subject.test, subject.limits, settings.target_risk),
        "conformal": known.conformal_rows(subject),
        "corruptions": corrupted(subject, settings, screen),
        "shift": [],
        "unknown": unknown_report(told, subject, detectors, own),
        "leave_out": leave_out(subject, settings.leave_out, settings.seed, screen),
        "nonsense": [],
        "nuisance": None,
        "field": None,
    }
    report["open_world"] = open_world_report(told, subject, own, settings)
    report["summary"] = summary(report, settings.rules)
    report["seconds"] = round(time.perf_counter() - clock, 1)
    report = without_nan(report)
    write_json(folder / "limits.json", report)
    write_scores(folder / "scores.npz", subject, own, told)
    write_limits(folder)
    return {**report, "folder": str(folder)}


def claim(folder: Path, overwrite: bool) -> Path:
    """The folder of the report; stored outputs in it are kept.

    Raises:
        TransferkitError: If it holds something that would be lost.
    """
    if folder.exists() and not folder.is_dir():
        raise TransferkitError(f"{folder} is a file. Choose a folder with --out.")
    held = {entry.name for entry in folder.iterdir()} if folder.exists() else set()
    if held - {*FILES, "outputs", "figs"}:
        raise TransferkitError(f"{folder} holds other files and is no limits report. Choose another folder with --out.")
    if "limits.json" in held and not overwrite:
        raise TransferkitError(
            f"{folder} already holds a limits report. Look at {folder / 'limits.html'}, choose another folder with "
            "--out, or replace it with --overwrite; what the network said is kept and not computed again."
        )
    return folder


def unknown_sets(subject: Subject, settings: Settings, screen: Screen) -> list[image_sets.ImageSet]:
    """The sets of unknown images, at the run's size, without dropped classes and without the run's own images.

    Raises:
        TransferkitError: If two sets have the same name, or a class to drop is in none of them.
    """
    dropped = image_sets.dropped_classes(settings.drop_classes)
    found = [
        image_sets.load(source, subject.side_px, settings.max_images, settings.seed, screen) for source in settings.ood
    ]
    names = [each.name for each in found]
    if twice := {name for name in names if names.count(name) > 1}:
        raise TransferkitError(f"Two sets are called {sorted(twice)[0]!r}. Name them, as in --ood NAME=FOLDER.")
    image_sets.require_dropped(found, dropped)
    return [unknown.without_own_images(image_sets.without_classes(each, dropped), subject) for each in found]


def tell(found: image_sets.ImageSet, subject: Subject, detectors: Detectors) -> Told:
    """What the network and the detectors say about a set, at the run's size and in its own."""
    outputs = subject.store.outputs(found.images, found.name)
    native = None
    if found.native is not None and len(found.native):
        native = detectors.of(subject.store.outputs(found.native, f"{found.name}, own size"), found.name)
    return Told(found.name, found, outputs, detectors.of(outputs, found.name), native)


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
    }


def thresholds(own: Own) -> dict[str, float | None]:
    """The threshold of every detector that accepts 95 % of val."""
    return {name: detection.threshold_at(scores) for name, scores in own["val"].items()}


def open_world_report(told: list[Told], subject: Subject, own: Own, settings: Settings) -> dict[str, Any]:
    """The decision table for every set, with the threshold that the run ships and with that of the summary score."""
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
        rows = [open_world_row(name_, accepted, wrong, each, settings) for name_, each in members.items()]
        tables["tables"].append({"score": name, "known_accepted": float(accepted.mean()), "rows": rows})
    return tables


def open_world_row(
    name: str,
    accepted: npt.NDArray[np.bool_],
    wrong: npt.NDArray[np.bool_],
    members: npt.NDArray[np.bool_],
    settings: Settings,
) -> dict[str, Any]:
    """The error among accepted images at each share of unknown inputs, and the largest share that is safe."""
    found = detection.open_world(accepted, ~wrong, members, settings.prevalence, settings.target_risk, settings.seed)
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


def write_scores(path: Path, subject: Subject, own: Own, told: list[Told]) -> None:
    """Every score, label, prediction and id, for readers who want to compute something else."""
    arrays: dict[str, npt.NDArray[Any]] = {}
    parts: list[tuple[str, Outputs, Mapping[str, Floats]]] = [
        ("val", subject.val, own["val"]),
        ("test", subject.test, own["test"]),
        *((each.name, each.outputs, each.scores) for each in told),
    ]
    for name, outputs, scores in parts:
        arrays |= {f"{name}.{score}": values for score, values in scores.items()}
        arrays |= {f"{name}.prediction": outputs.predictions, f"{name}.ids": np.array(outputs.ids)}
    labelled = {"val": subject.val.labels, "test": subject.test.labels}
    labelled |= {each.name: each.found.images.labels for each in told}
    arrays |= {f"{name}.label": labels for name, labels in labelled.items()}

    def save(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]

    write_atomically(path, save)
