"""A finished run in every form that it can be used in: accuracy beside the run, speed in turns, size, in one table."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from transferkit.data.images import Images, Pixels
from transferkit.deploy.benchmark.forms import CPU, Form, Workbench, in_torch, menu
from transferkit.deploy.benchmark.results import Benchmark, FormMeasurement, FormResult, Speed
from transferkit.deploy.export.source import source_of
from transferkit.deploy.export.turns import seconds_of
from transferkit.deploy.formats import measured_forms
from transferkit.metrics.statistics import paired_difference, wilson
from transferkit.runs.own_images import same_images
from transferkit.runs.run_directory import Run, open_run
from transferkit.runtime import machine, processor
from transferkit.runtime.argument_types import typed
from transferkit.runtime.array_types import Floats, Integers
from transferkit.runtime.console import Console
from transferkit.runtime.errors import TransferkitError, did_you_mean
from transferkit.runtime.plurals import counted

YARDSTICK = "eager"  # by which speeds are divided, where the network is built as its library's
PARTS = ("val", "test")
ASKED = 64  # images at a time where only answers count
BATCH = 32  # images of the batch that is timed
LEARNT = "The result has learnt from val too: accuracies are too good, and losses on new images may be larger."
TURNS = {1: 30, BATCH: 9}  # of each form, by images in the batch


@dataclass(frozen=True)
class Answered:
    """A form that has been asked about the images.

    Attributes:
        form: Ready to be asked again.
        classes: (N,) what it answered, as indices.
    """

    form: Form
    classes: Integers


@typed
def benchmark(
    run: Run | Path | str,
    formats: Sequence[str] = (),
    *,
    images: int = 1000,
    on: str = "val",
    threads: int | None = None,
    quiet: bool = False,
) -> Benchmark:
    """Measure every form of a finished run on this CPU; `transferkit benchmark RUN` in Python. Nothing is written.

    Args:
        run: A finished run, or its folder.
        formats: Of eager, fp32, bf16, onnx, onnx-int8 and torch-export; empty for all. The run's own precision and
            plain torchvision or timm (eager) are always among them, to be compared with.
        images: On how many accuracy is measured, at most; evenly spread over the part.
        on: val; or test, which is opened for it: what is chosen by it is then no longer fresh.
        threads: For every form; default: those of the run's recipe, else all cores.
        quiet: Print nothing.

    Returns:
        The table: `rows` with what was `measured`, or the `obstacle`.

    Raises:
        TransferkitError: For an unknown format or part, a run whose images have changed, or one without such images.
    """
    return measure_forms(open_run(run), formats, images=images, on=on, threads=threads, console=Console(quiet=quiet))


def measure_forms(
    run: Run, formats: Sequence[str], *, images: int, on: str, threads: int | None, console: Console
) -> Benchmark:
    """The benchmark of a run; long work is told on the console."""
    names = wanted_forms(formats, run.precision)
    runtime = machine.start("cpu", "fp32", threads or run.recipe.threads)
    labelled, notes = _images(run, on, images, console)
    with tempfile.TemporaryDirectory(prefix="transferkit-benchmark-") as folder:
        bench = Workbench(source_of(run, allow_loss=True, console=console), runtime.threads, Path(folder))
        own = answered(in_torch(run.precision, bench), labelled, f"{run.precision}, the run", console)
        asked = {name: _asked(name, bench, labelled, console) for name in names}
        forms = {name: outcome.form for name, outcome in asked.items() if isinstance(outcome, Answered)}
        beside = YARDSTICK if YARDSTICK in forms else next(iter(forms), "")
        console.line(f"Timing {counted(len(forms), 'form')} in turns ...")
        speeds = {size: speeds_of(forms, beside, _batch(labelled, size), turns) for size, turns in TURNS.items()}
        notes += _busy(runtime.threads)
    rows = [
        FormResult(name, _measured(name, outcome, own, labelled, speeds))
        if isinstance(outcome, Answered)
        else FormResult(name, None, outcome)
        for name, outcome in asked.items()
    ]
    place = f"{machine.device_name(CPU)}, {machine.thread_count(runtime.threads)}"
    return Benchmark(
        str(run.path), run.precision, beside, on, len(labelled), dict(TURNS), place, tuple(rows), tuple(notes)
    )


def wanted_forms(formats: Iterable[str], own: str) -> tuple[str, ...]:
    """Which forms to measure, in the order of the menu; the yardstick and the run's own are always among them.

    Raises:
        TransferkitError: Names the first unknown one.

    Example:
        >>> wanted_forms(["onnx"], own="bf16")
        ('eager', 'bf16', 'onnx')
    """
    known, chosen = measured_forms(), set(formats)
    for name in formats:
        if name not in known:
            raise TransferkitError(f"Unknown format {name!r}. {did_you_mean(name, known)}")
    return tuple(name for name in known if not chosen or name in {*chosen, YARDSTICK, own})


def _images(run: Run, on: str, count: int, console: Console) -> tuple[Images, list[str]]:
    """The images on which accuracy is measured, and what a reader must know of them.

    Raises:
        TransferkitError: If there is no such part, or it is empty.
    """
    if on not in PARTS:
        raise TransferkitError(f"Unknown part {on!r}. Expected val or test.")
    if count < 1:
        raise TransferkitError(f"images is {count}; expected at least 1.")
    splits = same_images(run, console)
    if on == "test":
        images, notes = splits.test.open(), ["The test images were opened; a format chosen by them makes them stale."]
    else:
        has_learnt = bool(getattr(run.recipe.method, "refit", False))
        notes = [LEARNT] * has_learnt
        images = splits.val
    if not len(images):
        raise TransferkitError(f"The run has no {on} images. Choose the others with --on {_other(on)}.")
    return images.spread(count), notes


def _busy(threads: int) -> list[str]:
    """A line where other programs want more of the machine than this one leaves them."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load <= max(threads, processor.usable_cores()) + 0.5:
        return []
    return [
        f"Take these times with care: other programs keep this machine busy (load {load:.1f} on "
        f"{processor.usable_cores()} cores), which slows long passes more than short ones."
    ]


def _other(part: str) -> str:
    return next(name for name in PARTS if name != part)


def _asked(name: str, bench: Workbench, images: Images, console: Console) -> Answered | str:
    """The form with its answers, or why it cannot be had here."""
    try:
        return answered(menu()[name](bench), images, name, console)
    except TransferkitError as error:
        return str(error)


def answered(form: Form, images: Images, title: str, console: Console) -> Answered:
    """A form after all images."""
    classes = []
    with console.progress(title, len(images)) as progress:
        for chunk in images.chunks(ASKED):
            classes.append(form.logits(np.ascontiguousarray(chunk)).argmax(axis=1))
            progress.advance(len(chunk))
    return Answered(form, np.concatenate(classes))


def _batch(images: Images, size: int) -> Pixels:
    """So many images, repeated where there are fewer."""
    return np.ascontiguousarray(images.take(np.resize(np.arange(len(images)), size)))


def speeds_of(forms: Mapping[str, Form], beside: str, images: Pixels, turns: int) -> dict[str, Speed]:
    """How long each form takes for this batch; the forms take turns."""
    seconds = seconds_of({name: form.logits for name, form in forms.items()}, images, turns)
    return {name: speed_of(taken, seconds[beside], len(images)) for name, taken in seconds.items()}


def speed_of(seconds: Floats, beside: Floats, images: int) -> Speed:
    """Medians over turns, (turns,) seconds of a form and of the one beside it.

    Example:
        >>> speed_of(np.array([0.1, 0.2, 0.1]), np.array([0.2, 0.4, 0.3]), 32)
        Speed(images=32, milliseconds=100.0, times=2.0, quartiles=(2.0, 2.5))
    """
    ratios = beside / seconds
    low, middle, high = (float(value) for value in np.percentile(ratios, (25, 50, 75)))
    return Speed(images, 1000 * float(np.median(seconds)), middle, (low, high))


def _measured(
    name: str, answer: Answered, own: Answered, images: Images, speeds: Mapping[int, Mapping[str, Speed]]
) -> FormMeasurement:
    labels = images.require_labels()
    right, own_right = answer.classes == labels, own.classes == labels
    loss = paired_difference(own_right[None], right[None], "images")
    single, batch = (speeds[size][name] for size in TURNS)
    return FormMeasurement(
        float(right.mean()),
        wilson(int(right.sum()), len(images)).bounds,
        loss.difference,
        loss.interval.bounds,
        int((answer.classes == own.classes).sum()),
        single,
        batch,
        answer.form.bytes,
    )
