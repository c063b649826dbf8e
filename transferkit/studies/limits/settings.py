"""What a limits report is asked for, and the thresholds of its summary."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from transferkit.recipe.settings import SEEDS
from transferkit.runtime.argument_types import require_types
from transferkit.runtime.errors import TransferkitError, did_you_mean, quoted

Corruptions = Literal["none", "fast", "full"]
LeaveOut = Literal["auto", "all", "none", "full"]
PREVALENCES = (0.01, 0.05, 0.1, 0.25, 0.5)
CHOICES = {"corruptions": get_args(Corruptions), "leave_out": get_args(LeaveOut)}
LISTS = ("ood", "shift", "drop_classes")
FOLDERS = ("field", "cifar10c")

HALVED = "half of its test images set the thresholds"  # in a note, where val has been learnt from


@dataclass(frozen=True)
class Rules:
    """When a line of the summary is printed; printed with the report, changed by `--rule name=value`.

    Attributes:
        nonsense_accepted: S1, share of a kind of meaningless image that is accepted.
        auroc: S2, lower bound of the AUROC of near unknown classes.
        unknown_accepted: S3, upper bound of the share of an unknown set that is accepted.
        breaking_severity: S4, severity up to which a corruption must not cost 10 points.
        shift_gap: S5, lower bound of the loss on other images of the same classes.
        overconfidence: S6, mean confidence minus accuracy.
        silent_failures: S7, share of images that are accepted and wrong.
        weak_class: S8, macro recall minus the recall of the worst class.
        coverage: S9, share of images that must be answerable at the target risk.
        slice_gap: S12, accuracy on all other test images minus that on a group of alike ones shown to be worse.
        low_level: S10, AUROC of the detector minus that of four image statistics.
        few_per_class: S11, fewest test images of a class.
        few_unknown: S11, fewest images of an unknown set.
    """

    nonsense_accepted: float = 0.2
    auroc: float = 0.8
    unknown_accepted: float = 0.5
    breaking_severity: float = 2
    shift_gap: float = 0.05
    overconfidence: float = 0.02
    silent_failures: float = 0.05
    weak_class: float = 0.1
    coverage: float = 0.5
    slice_gap: float = 0.1
    low_level: float = 0.03
    few_per_class: float = 30
    few_unknown: float = 100

    def changed(self, changes: Sequence[str]) -> Rules:
        """The rules with each `name=value` laid over them.

        Raises:
            TransferkitError: Names the nearest rule.
        """
        names = [field.name for field in fields(self)]
        values: dict[str, float] = {}
        for change in changes:
            name, _, text = change.partition("=")
            if name not in names:
                raise TransferkitError(f"Unknown rule {name!r}. {did_you_mean(name, names)}")
            try:
                values[name] = float(text)
                if not math.isfinite(values[name]):
                    raise ValueError
            except ValueError:
                raise TransferkitError(
                    f"Rule {name!r} needs a number, as in {name}=0.1; found {quoted(text)}."
                ) from None
        return replace(self, **values)


@dataclass(frozen=True)
class LimitsSettings:
    """What a limits report is asked for.

    Attributes:
        ood: Images of classes the model does not know: names of data sets, folders, or name=folder.
        shift: Other images of the model's own classes, likewise.
        drop_classes: Classes left out of the unknown sets, because the model knows them; or a file with one per line.
        corruptions: `fast` is five corruptions at three severities on 1,000 images, `full` all of them on all.
        cifar10c: Folder with the authors' CIFAR-10-C files, used in place of our own corruptions.
        field: Folder of unlabelled images from where the model is to be used.
        leave_out: Hold out classes of the run itself; `full` trains the whole network again each time.
        sweeps: Move, scale, turn, crop and cover the test images.
        target_risk: Error rate that the user can accept among accepted images.
        prevalence: Shares of unknown images to reckon with.
        seed: Of every sample and resampling.
        max_images: Most images of a set that the network looks at; of more, a sample is drawn.
        train_images: Most train images that detectors are fitted on, likewise.
        rules: Thresholds of the summary.
    """

    ood: tuple[str, ...] = ()
    shift: tuple[str, ...] = ()
    drop_classes: tuple[str, ...] = ()
    corruptions: Corruptions = "fast"
    cifar10c: Path | None = None
    field: Path | None = None
    leave_out: LeaveOut = "auto"
    sweeps: bool = True
    target_risk: float = 0.02
    prevalence: tuple[float, ...] = PREVALENCES
    seed: int = 0
    max_images: int = 10_000
    train_images: int = 10_000
    rules: Rules = Rules()

    def __post_init__(self) -> None:
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise TransferkitError(f"{name} is {getattr(self, name)!r}. {did_you_mean(getattr(self, name), known)}")
        if not 0 < self.target_risk < 1:
            raise TransferkitError(f"--target-risk is {self.target_risk}; expected an error rate in (0, 1), as .02.")
        wrong = [share for share in self.prevalence if not 0 < share < 1]
        if wrong or not self.prevalence:
            raise TransferkitError(f"--prevalence is {wrong or 'empty'}; expected shares in (0, 1), such as .05.")
        if not 0 <= self.seed < SEEDS:
            raise TransferkitError(f"--seed is {quoted(self.seed)}; expected a whole number from 0 to {SEEDS - 1:,}.")
        if min(self.max_images, self.train_images) < 1:
            raise TransferkitError("--max-images and --train-images must be at least 1.")


def _listed(name: str, value: Any) -> Any:
    """A value as the settings hold it: several ways of writing one are admitted."""
    if name in FOLDERS and isinstance(value, str):
        return Path(value)
    if name in LISTS and isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


def from_options(**options: Any) -> LimitsSettings:
    """Settings from keyword arguments; lists become tuples.

    Raises:
        TransferkitError: If there is no such option; names the nearest.
    """
    names = [field.name for field in fields(LimitsSettings)]
    for name in options:
        if name not in names:
            raise TransferkitError(f"limits has no option {name!r}. {did_you_mean(name, names)}")
    values = {name: _listed(name, value) for name, value in options.items()}
    require_types("limits", values, LimitsSettings)
    return LimitsSettings(**values)
