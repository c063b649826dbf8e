"""What a comparison found, as `transferkit.compare` returns it and comparison.json holds it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from transferkit.metrics.statistics import Bounds, Over
from transferkit.report.study_result import StudyResult
from transferkit.runs.result_folders import COMPARISON
from transferkit.runtime.json_files import SCHEMAS
from transferkit.runtime.records import from_json, read_result


@dataclass(frozen=True)
class ArmDifference:
    """How much better an arm is than the reference on the same images.

    Attributes:
        mean: Difference of their mean accuracies, in [-1, 1].
        interval: 95 %, of this difference alone.
        p: Of this difference alone.
        p_holm: Adjusted over all pairs of arms.
        shown: Whether that is at most 5 %.
        discordant: Images that this arm alone and the other alone gets right; None unless both have a single seed.
    """

    mean: float
    interval: Bounds
    p: float
    p_holm: float
    shown: bool
    discordant: tuple[int, int] | None = None


@dataclass(frozen=True)
class ArmPair:
    """How much better arm `a` is than arm `b`; as `ArmDifference`."""

    a: str
    b: str
    mean: float
    interval: Bounds
    p: float
    p_holm: float
    shown: bool
    discordant: tuple[int, int] | None = None

    def of(self, name: str) -> ArmDifference:
        """The difference of arm `name`, which is `a` or `b`, to the other."""
        if name == self.a:
            return ArmDifference(self.mean, self.interval, self.p, self.p_holm, self.shown, self.discordant)
        low, high = self.interval
        turned = (0.0 - high, 0.0 - low)  # and no minus zero
        alone = (self.discordant[1], self.discordant[0]) if self.discordant else None
        return ArmDifference(0.0 - self.mean, turned, self.p, self.p_holm, self.shown, alone)


@dataclass(frozen=True)
class LoggedEpoch:
    """What the page draws of one epoch; `seconds` counts from the first step."""

    epoch: int
    step: int | None
    loss: float | None
    val_accuracy: float | None
    seconds: float


@dataclass(frozen=True)
class Arm:
    """One arm: how good, how sure, how costly. What its runs do not know is None.

    Attributes:
        runs: Folders, one per seed.
        accuracies: On the test images, in [0, 1], one per seed.
        interval: Of the mean.
        recalls: Per class, means over seeds.
        length: How long it trained, in words.
        own_length: Whether it is outside the study's budget.
        history: Of the first seed.
        difference: To the reference; None for the reference itself.
        backbone: Its name; empty where an earlier version wrote the file, as `method`.
    """

    name: str
    runs: tuple[str, ...]
    seeds: int
    accuracies: tuple[float, ...]
    mean: float
    sd: float | None
    interval: Bounds
    test_openings: int
    recalls: tuple[float | None, ...] = ()
    length: str = ""
    trained_parameters: int | None = None
    steps: float | None = None
    flops_per_image: float | None = None
    training_flops: float | None = None
    fit_seconds: float | None = None
    predicted_images_per_second: float | None = None
    peak_memory_bytes: float | None = None
    history: tuple[LoggedEpoch, ...] = ()
    difference: ArmDifference | None = None
    own_length: bool = False
    backbone: str = ""
    method: str = ""


@dataclass(frozen=True)
class Agreement:
    """Of the images that a row's arm gets wrong, the share that a column's arm gets wrong too."""

    names: tuple[str, ...] = ()
    shares: tuple[tuple[float | None, ...], ...] = ()


@dataclass(frozen=True, repr=False)
class Comparison(StudyResult):
    """Several arms on the same test images.

    Attributes:
        reference: The arm that the others' differences are shown to.
        n: Test images.
        over: What differences count as drawn by chance: seeds and images, or images alone.
        arms: The reference first.
        pairs: Every two arms, the better mean as `a`.
        leaders: Arms that no other is shown to be better than; one alone is the winner.
        verdict: In sentences.
        notes: What a reader must know of how the runs were made.
        failures: A sentence for each run that came to no end.
        folder: Where it and its page are.
        groups: How many groups the test images come in, which then take the place of images in intervals and tests.
    """

    KIND = COMPARISON

    reference: str
    n: int
    arms: tuple[Arm, ...]
    pairs: tuple[ArmPair, ...]
    verdict: str
    over: Over = "images"
    leaders: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()
    agreement: Agreement = Agreement()
    notes: tuple[str, ...] = ()
    name: str = ""
    failures: tuple[str, ...] = ()
    command: str = ""
    budget: str | None = None
    budget_in_words: str = ""
    folder: str = ""
    groups: int | None = None
    kind: Literal["comparison"] = "comparison"
    schema: int = SCHEMAS[COMPARISON.result]

    def _headline(self) -> str:
        return f"Comparison: {self.verdict}"

    def _notebook_page(self) -> str:
        from transferkit.studies.compare.page import comparison_page

        return comparison_page(self, Path(self.folder))


@dataclass(frozen=True)
class LabelPoint:
    """The arms at one number of labels per class.

    Attributes:
        labels: Per class, val included; `all` for all there are.
        n_train: Training images.
        n_val: Images set aside.
    """

    labels: int | Literal["all"]
    n_train: int
    n_val: int
    comparison: Comparison


@dataclass(frozen=True, repr=False)
class LabelCurve(StudyResult):
    """Several arms over the number of labels; attributes as of `Comparison`.

    Attributes:
        names: The arms, in the order of the study.
        points: By rising number of labels.
        subsets: How labels were drawn, in words.
    """

    KIND = COMPARISON

    reference: str
    n: int
    over: Over
    names: tuple[str, ...]
    points: tuple[LabelPoint, ...]
    verdict: str
    subsets: str
    class_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    name: str = ""
    failures: tuple[str, ...] = ()
    command: str = ""
    budget: str | None = None
    budget_in_words: str = ""
    folder: str = ""
    groups: int | None = None
    kind: Literal["curve"] = "curve"
    schema: int = SCHEMAS[COMPARISON.result]

    def lines(self) -> Iterator[tuple[LabelPoint, Arm]]:
        """Every number of labels with every arm, in the order of the arms."""
        for point in self.points:
            arms = {arm.name: arm for arm in point.comparison.arms}
            yield from ((point, arms[name]) for name in self.names if name in arms)

    @property
    def arms(self) -> tuple[Arm, ...]:
        """Every arm at every number of labels."""
        return tuple(arm for point in self.points for arm in point.comparison.arms)

    def _headline(self) -> str:
        return f"LabelCurve: {self.verdict}"

    def _notebook_page(self) -> str:
        from transferkit.studies.compare.label_curve_page import label_curve_page

        return label_curve_page(self, Path(self.folder))


KINDS: dict[str, type[Comparison] | type[LabelCurve]] = {"comparison": Comparison, "curve": LabelCurve}


def read_comparison(folder: Path) -> Comparison | LabelCurve:
    """The comparison or the label curve in a folder.

    Raises:
        TransferkitError: If there is none, it is damaged, or another version computed its numbers in another way.
    """
    path = folder / COMPARISON.result
    value = read_result(path)
    return from_json(value, KINDS.get(str(value.get("kind")), Comparison), str(path))
