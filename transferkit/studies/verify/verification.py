"""Make a recipe again, and say whether its result is reproduced; nothing of the earlier run is changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from transferkit import run as story
from transferkit.metrics.outputs import Outputs
from transferkit.metrics.results import Scores
from transferkit.metrics.statistics import Bounds, Interval, independent_difference, paired_difference
from transferkit.recipe import Recipe
from transferkit.report.number_words import percent, points
from transferkit.runs.run_directory import Run
from transferkit.runtime.console import Console
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.plurals import counted

SOUP = "a soup ("  # how the note of a run begins that was made by averaging others


@dataclass(frozen=True)
class MeasuredAccuracy:
    """An accuracy on test images, in [0, 1], with n and its 95 % interval."""

    accuracy: float
    interval: Bounds
    n: int

    def __str__(self) -> str:
        low, high = self.interval
        return f"{percent(self.accuracy)} (95 % interval {100 * low:.1f} to {100 * high:.1f}, n = {self.n:,})"


@dataclass(frozen=True)
class Pairing:
    """The two models on the same test images.

    Attributes:
        difference: Accuracy of the repeated one minus that of the earlier one.
        interval: Of the difference, 95 %, over images.
        p: That both are equally good.
        same_answers: How many images both give the same class.
    """

    difference: float
    interval: Bounds
    p: float
    same_answers: int


@dataclass(frozen=True)
class Verification:
    """Whether a result came out again.

    Attributes:
        subject: The run's folder, or the recipe.
        is_reproduced: A run, on the same test images: the new accuracy lies within its 95 % interval. On other test
            images: the interval of the difference (Newcombe) holds 0. A recipe: the new accuracy lies in its range.
        repeated: What came out now.
        earlier: What the run says; None of a recipe.
        stated: The range that a recipe states, as shares; None of a run.
        pairing: None where the test images are not the same.
        changes: What is not as it was, one line each: images, versions, machine.
        seconds: Of the repetition.
    """

    subject: str
    is_reproduced: bool
    repeated: MeasuredAccuracy
    earlier: MeasuredAccuracy | None
    stated: Bounds | None
    pairing: Pairing | None
    changes: tuple[str, ...]
    seconds: float

    def lines(self) -> list[str]:
        """The verdict first, then what it goes by."""
        verdict = "Reproduced" if self.is_reproduced else "NOT reproduced"
        return [f"{verdict}: {self._by()}", *self._paired(), *self.changes]

    def _by(self) -> str:
        if self.stated is not None:
            low, high = self.stated
            place = "within" if self.is_reproduced else "outside"
            return (
                f"{self.repeated} is {place} the range that {self.subject} states, {100 * low:g} to {100 * high:g} %."
            )
        return f"{self.repeated} now, and {self.earlier} in {self.subject}."

    def _paired(self) -> Iterator[str]:
        if self.pairing is None:
            return
        paired, n = self.pairing, self.repeated.n
        if paired.same_answers == n:
            yield f"All {n:,} answers are the same."
            return
        yield (
            f"On the same test images: {points(paired.difference, paired.interval)} points, "
            f"p = {paired.p:.2g}; {paired.same_answers:,} of {n:,} answers are the same."
        )
        if self.is_reproduced and not paired.interval[0] <= 0 <= paired.interval[1]:
            yield "That difference is more than chance among these images: another training came out than before."


def verify_run(run: Run, folder: Path, console: Console, command: str = "") -> Verification:
    """Make a run's recipe again in another folder, and hold the results against each other.

    Args:
        run: The earlier, finished run.
        folder: Of the repetition.
        console: For progress.
        command: As typed.

    Raises:
        TransferkitError: If the run is none that a recipe makes, has no test images, or cannot be made again here.
    """
    earlier = _measured(run.evaluation.test, str(run.path))
    if any(note.startswith(SOUP) for note in run.facts.notes):
        raise TransferkitError(
            f"{run.path} is a soup of other runs, which no recipe makes. Verify those, and cook them again."
        )
    again = _made_again(run.recipe, folder, console, command)
    repeated = _measured(again.evaluation.test, str(folder))
    same_images = run.facts.data.fingerprint.test == again.facts.data.fingerprint.test
    return Verification(
        str(run.path),
        _is_within(repeated, earlier) if same_images else _agree(repeated, earlier),
        repeated,
        earlier,
        None,
        _pairing(again, run) if same_images and run.outputs_path("test").exists() else None,
        tuple(_changes(run, again)),
        again.facts.total_seconds,
    )


def verify_recipe(recipe: Recipe, name: str, folder: Path, console: Console, command: str = "") -> Verification:
    """Carry out a recipe, and say whether its accuracy lies in the range that it states.

    Raises:
        TransferkitError: If it states none, or cannot be carried out here.
    """
    if recipe.stated_accuracy is None:
        raise TransferkitError(
            f"The recipe {name} states no range to hold a result against. Write one into it, as in "
            "stated_accuracy: [0.92, 0.95]; or verify a finished run of it: transferkit verify RUN"
        )
    again = _made_again(recipe, folder, console, command)
    repeated, (low, high) = _measured(again.evaluation.test, str(folder)), recipe.stated_accuracy
    is_within = low <= repeated.accuracy <= high
    seconds = again.facts.total_seconds
    return Verification(name, is_within, repeated, None, recipe.stated_accuracy, None, (), seconds)


def _made_again(recipe: Recipe, folder: Path, console: Console, command: str) -> Run:
    """The run of a recipe, or of one that was stopped here; one that is finished would prove nothing.

    Raises:
        TransferkitError: If the folder holds such a one.
    """
    if Run(folder).is_finished:
        raise TransferkitError(
            f"{folder} holds a finished run, and verify makes one anew. Choose another folder with --out, or leave "
            "it out."
        )
    return story.run(recipe, folder, resume=True, console=console, command=command)


def _measured(test: Scores, place: str) -> MeasuredAccuracy:
    if not test.n:
        raise TransferkitError(f"{place} has no test images, so that there is no result to hold against another.")
    return MeasuredAccuracy(test.accuracy, test.interval, test.n)


def _is_within(repeated: MeasuredAccuracy, earlier: MeasuredAccuracy) -> bool:
    low, high = earlier.interval
    return low <= repeated.accuracy <= high


def _agree(repeated: MeasuredAccuracy, earlier: MeasuredAccuracy) -> bool:
    intervals = Interval(*repeated.interval), Interval(*earlier.interval)
    interval = independent_difference(repeated.accuracy, intervals[0], earlier.accuracy, intervals[1]).interval
    return interval.low <= 0 <= interval.high


def _pairing(again: Run, run: Run) -> Pairing:
    new, old = again.outputs("test"), _aligned(run.outputs("test"), again.outputs("test"))
    paired = paired_difference(new.is_right[None], old.is_right[None], over="images", groups=new.groups)
    names = [np.asarray(outputs.class_names)[outputs.predictions] for outputs in (new, old)]
    same = int((names[0] == names[1]).sum())
    return Pairing(paired.difference, paired.interval.bounds, paired.p, same)


def _aligned(old: Outputs, new: Outputs) -> Outputs:
    """The earlier outputs as they are: one fingerprint is one order of images.

    Raises:
        TransferkitError: If the stored outputs are of other images than the fingerprint says.
    """
    if len(old) != len(new):
        raise TransferkitError(
            f"The run's outputs/test.safetensors holds {counted(len(old), 'image')} and its recipe gives "
            f"{len(new):,}. Copy it "
            "back from where the run was made."
        )
    return old


def _changes(run: Run, again: Run) -> Iterator[str]:
    """What is not as it was."""
    before, now = run.facts.data.fingerprint, again.facts.data.fingerprint
    for part in (field.name for field in fields(before)):
        if getattr(before, part) != getattr(now, part):
            yield f"The {part} images are not those of the run: their content or labels have changed."
    yield from _changed_machine(run, again)


def _changed_machine(run: Run, again: Run) -> Iterator[str]:
    before, now = run.environment, again.environment
    for name in ("device", "precision", "threads", "processes", "python"):
        if getattr(before, name) not in (None, getattr(now, name)):
            yield f"{name}: {getattr(before, name)} then, {getattr(now, name)} now."
    for name in sorted({*before.packages, *now.packages}):
        if before.packages.get(name) != now.packages.get(name):
            yield f"{name}: {before.packages.get(name)} then, {now.packages.get(name)} now."
