"""The log of a training, epoch by epoch, as `run.history` gives it and history.jsonl holds it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from pydantic import Field

from transferkit.runtime.records import read_record_lines, write_record_lines

FILE = "history.jsonl"

# An accuracy of 90 % on 500 images has a standard error of 1.3 points; epochs differ by about as much. Fewer images
# would choose by chance, as they would a probe's C.
FEWEST_TO_CHOOSE = 500


@dataclass(frozen=True)
class Epoch:
    """One epoch of a training; 0 is its start. None where nothing was measured.

    Attributes:
        step: Steps taken by its end.
        loss: Mean over its steps.
        lr: Largest rate at its end.
        gradient_norm: Mean over its steps.
        seconds: Of its steps alone.
        val_accuracy: Of the weights at its end, in [0, 1], if these have not learnt from val; likewise `val_loss`.
        val_images: How many these are about.
        val_gained: Images that are right now and were wrong at the start; `val_lost` the reverse.
        is_result: Whether its weights are the result.
    """

    epoch: int
    step: int | None = None
    loss: float | None = None
    lr: float | None = None
    gradient_norm: float | None = None
    images_per_second: float | None = None
    seconds: float | None = None
    val_accuracy: float | None = None
    val_loss: float | None = None
    val_images: int | None = None
    val_gained: int | None = None
    val_lost: int | None = None
    is_result: Annotated[bool, Field(alias="kept")] = False

    def after(self, last: Epoch) -> Epoch:
        """The same in a training that goes on where another ended."""
        return replace(self, epoch=last.epoch + self.epoch, step=(last.step or 0) + (self.step or 0))


@dataclass(frozen=True)
class History:
    """All finished epochs in their order, the start as epoch 0 before them; empty for a probe."""

    epochs: tuple[Epoch, ...] = ()

    def __len__(self) -> int:
        return len(self.epochs)

    def __iter__(self) -> Iterator[Epoch]:
        return iter(self.epochs)

    @property
    def start(self) -> Epoch | None:
        """Epoch 0; None for a probe and for runs of earlier versions."""
        return self.epochs[0] if self.epochs and self.epochs[0].epoch == 0 else None

    @property
    def last(self) -> Epoch | None:
        """The last finished epoch, or the start where there is none."""
        return self.epochs[-1] if self.epochs else None

    @property
    def judged(self) -> tuple[Epoch, ...]:
        """Those whose weights could be judged on val."""
        return tuple(epoch for epoch in self.epochs if epoch.val_accuracy is not None)

    @property
    def best(self) -> Epoch | None:
        """The one with the highest val accuracy, at a tie with the lowest val loss, then the earliest.

        Example:
            >>> accuracies, losses = (0.80, 0.85, 0.85, 0.70), (0.9, 0.6, 0.5, 0.4)
            >>> pairs = enumerate(zip(accuracies, losses))
            >>> History(tuple(Epoch(number, val_accuracy=a, val_loss=l) for number, (a, l) in pairs)).best.epoch
            2
        """
        return min(self.judged, key=_badness, default=None)

    @property
    def result(self) -> Epoch | None:
        """The one whose weights are the result; None for runs of earlier versions."""
        return next((epoch for epoch in reversed(self.epochs) if epoch.is_result), None)

    @property
    def steps(self) -> int:
        """How many were taken."""
        return self.last.step or 0 if self.last else 0

    @property
    def seconds(self) -> float:
        """The time of the gradient steps of all epochs."""
        return sum(epoch.seconds or 0.0 for epoch in self.epochs)

    @property
    def images_per_second(self) -> float | None:
        """Mean over the epochs in which images were trained on; None without any."""
        rates = [epoch.images_per_second for epoch in self.epochs if epoch.images_per_second is not None]
        return sum(rates) / len(rates) if rates else None

    def with_epoch(self, epoch: Epoch) -> History:
        """This and one more."""
        return History((*self.epochs, epoch))

    def keeping(self, result: Epoch | None) -> History:
        """The same with one epoch marked as the result; with None without any mark."""
        return History(tuple(replace(epoch, is_result=epoch is result) for epoch in self.epochs))

    def followed_by(self, again: History) -> History:
        """This training, judged on val, and then the one that is the result; epochs and steps go on.

        Example:
            >>> first = History((Epoch(0, 0), Epoch(1, 9, is_result=True)))
            >>> whole = first.followed_by(History((Epoch(0, 0), Epoch(1, 10, is_result=True))))
            >>> [(epoch.epoch, epoch.step, epoch.is_result) for epoch in whole]
            [(0, 0, False), (1, 9, False), (2, 19, True)]
        """
        last = self.epochs[-1]
        return History((*self.keeping(None), *(epoch.after(last) for epoch in again.epochs[1:])))


def _badness(epoch: Epoch) -> tuple[float, float]:
    return -(epoch.val_accuracy or 0.0), float("inf") if epoch.val_loss is None else epoch.val_loss


def read_history(folder: Path) -> History:
    """The history in a run's folder; empty where there is none.

    Raises:
        TransferkitError: Names the line that is damaged.
    """
    path = folder / FILE
    return History(tuple(read_record_lines(path, Epoch))) if path.exists() else History()


def write_history(folder: Path, history: History) -> None:
    """Leave a history in a run's folder as history.jsonl."""
    write_record_lines(folder / FILE, history.epochs)
