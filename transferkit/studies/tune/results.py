"""What a tuning found, as `transferkit.tune` returns it and tuning.json holds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from transferkit.metrics.statistics import Bounds
from transferkit.report.study_result import StudyResult
from transferkit.runs.result_folders import TUNING
from transferkit.runtime.json_files import SCHEMAS


@dataclass(frozen=True)
class Trial:
    """One setting, trained for one length on train and judged on val.

    Attributes:
        values: Keys of the method, apart from which it is the base.
        rung: Counted from 0, the shortest trainings.
        length: Of the training, in epochs or steps as `length_unit` says.
        steps: Taken.
        size: Side of the input in px.
        lr: Peak rate of the body; None where it came to no end.
        n: Val images.
        accuracy: On val, in [0, 1]; None where the training came to no end.
        interval: Of it, 95 %.
        loss: Mean cross-entropy on val, in nats.
        failure: Why it came to no end; empty where it did.
    """

    values: dict[str, Any]
    rung: int
    length: int
    length_unit: str
    steps: int
    seconds: float
    size: int
    lr: float | None = None
    n: int = 0
    accuracy: float | None = None
    interval: Bounds | None = None
    loss: float | None = None
    failure: str = ""

    @property
    def badness(self) -> tuple[bool, float, float]:
        """Sorts trials of one length, best first: by accuracy, at a tie by loss; those without an end come last."""
        return self.accuracy is None, -(self.accuracy or 0.0), float("inf") if self.loss is None else self.loss


@dataclass(frozen=True)
class ChosenRun:
    """The chosen setting at full length, a run of its own, for which test was opened.

    Attributes:
        run: Its folder.
        steps: Taken.
        n: Test images.
        accuracy: On test, in [0, 1].
        interval: Of it, 95 %.
    """

    run: str
    steps: int
    n: int
    accuracy: float
    interval: Bounds


@dataclass(frozen=True, repr=False)
class Tuning(StudyResult):
    """Settings tried by successive halving on val, and the best of them trained.

    Attributes:
        schema: Of tuning.json.
        space: Values by key of the method.
        points: How many settings were tried.
        of: How many the space has.
        trials: Shortest trainings first, best first among those of one length.
        chosen: Keys of the method of the best setting.
        result: Its training at full length.
        steps: Of all trials and of the chosen training.
        grid_steps: Of all settings of the space at full length, had they been trained.
        train, val: How many images.
        test_openings: Before the setting was chosen; 0.
        folder: Where it and its page are.
    """

    KIND = TUNING

    name: str
    backbone: str
    data: str
    space: dict[str, tuple[Any, ...]]
    search: str
    eta: int
    points: int
    of: int
    trials: tuple[Trial, ...]
    chosen: dict[str, Any]
    result: ChosenRun
    steps: int
    grid_steps: int
    train: int
    val: int
    test_openings: int
    verdict: str
    notes: tuple[str, ...]
    command: str
    folder: str
    schema: int = SCHEMAS[TUNING.result]

    def _headline(self) -> str:
        return f"Tuning: {self.verdict}"

    def _notebook_page(self) -> str:
        from transferkit.studies.tune.page import tuning_page

        return tuning_page(self)
