"""A run told to another tool while it trains: its settings at the start, each epoch as it ends, the verdict at last."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from transferkit.metrics.history import Epoch
from transferkit.recipe import Recipe
from transferkit.report import mlflow_tracking, tensorboard, wandb_tracking
from transferkit.runs.run_directory import Run
from transferkit.runtime.console import Console
from transferkit.runtime.errors import TransferkitError, reason
from transferkit.runtime.json_files import JsonObject
from transferkit.runtime.optional_libraries import require_packages


class Tracker(Protocol):
    """One run in another tool."""

    def log(self, numbers: Mapping[str, float], epoch: int) -> None:
        """Numbers of one epoch, by tag."""

    def finish(self, run: Run, verdict: str) -> None:
        """What is known at the end besides numbers."""

    def close(self, *, is_complete: bool) -> None:
        """The end, however it came."""


class Tool(Protocol):
    """An entry of the menu: a module with the package that it needs, the extra that brings it, and how it begins."""

    PACKAGE: str
    EXTRA: str

    def begin(self, run: Run, settings: Mapping[str, str]) -> Tracker:
        """A tracker for a run."""


TOOLS: dict[str, Tool] = {"tensorboard": tensorboard, "mlflow": mlflow_tracking, "wandb": wandb_tracking}


def require(track: str) -> None:
    """Refuse a run that is to be tracked where the extra is missing, before any work.

    Raises:
        TransferkitError: Says what to install.
    """
    tool = TOOLS.get(track)
    if tool is not None:
        require_packages(f"--track {track}", [tool.PACKAGE], tool.EXTRA)


@dataclass
class Live:
    """What a run tells while it trains; nothing where its recipe asks for nothing.

    A tool that fails after it began is told once and not asked again: the training goes on.

    Attributes:
        console: Says what failed.
        track: The tool's name.
        tracker: The run in that tool; None before it began, and after it failed.
    """

    console: Console
    track: str = "none"
    tracker: Tracker | None = None

    def begin(self, run: Run, recipe: Recipe) -> None:
        """Tell the settings, every default written out.

        Raises:
            TransferkitError: If the tool does not take the run; nothing has been trained yet.
        """
        if (tool := TOOLS.get(recipe.track)) is None:
            return
        self.track = recipe.track
        try:
            self.tracker = tool.begin(run, settings_of(recipe))
        except Exception as error:  # whatever another library makes of its own settings
            raise TransferkitError(
                f"Tracking by {self.track} could not begin: {reason(error).rstrip('.')}. "
                "Mend that, or do without --track."
            ) from error

    def note_epoch(self, epoch: Epoch) -> None:
        """Tell an epoch that just ended."""
        self._ask(lambda tracker: tracker.log(numbers_of(epoch), epoch.epoch))

    def finish(self, run: Run, verdict: str) -> None:
        """Tell what the test set says, and the verdict in a sentence."""
        last = run.history.last.epoch if run.history.last else 0
        self._ask(lambda tracker: tracker.log(dict(tensorboard.test_numbers(run)), last))
        self._ask(lambda tracker: tracker.finish(run, verdict))

    def close(self, *, is_complete: bool) -> None:
        """Tell that it is over."""
        self._ask(lambda tracker: tracker.close(is_complete=is_complete))
        self.tracker = None

    def _ask(self, act: Callable[[Tracker], None]) -> None:
        if self.tracker is None:
            return
        try:
            act(self.tracker)
        except Exception as error:  # a network that is gone, a disk that is full: no reason to lose a training
            self.tracker = None
            self.console.line(f"--track {self.track} failed and is left alone now: {reason(error)}")


@contextmanager
def live(console: Console) -> Iterator[Live]:
    """What a run tells while it trains, closed at the end however that comes."""
    telling = Live(console)
    try:
        yield telling
    except BaseException:
        telling.close(is_complete=False)
        raise
    telling.close(is_complete=True)


def numbers_of(epoch: Epoch) -> dict[str, float]:
    """The numbers of an epoch by tag; what was not measured is left out."""
    values = {tag: getattr(epoch, key) for key, tag in tensorboard.TRAINING.items()}
    return {tag: float(value) for tag, value in values.items() if value is not None}


def settings_of(recipe: Recipe) -> dict[str, str]:
    """Every key of a recipe by its path, as text.

    Example:
        >>> from transferkit.recipe import parse
        >>> recipe = parse({"data": {"name": "digits"}, "backbone": {"name": "resnet20"}, "method": {"name": "probe"}})
        >>> settings_of(recipe)["method.name"]
        'probe'
    """
    return dict(_flattened(recipe.model_dump(mode="json"), ""))


def _flattened(values: JsonObject, prefix: str) -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flattened(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value)
