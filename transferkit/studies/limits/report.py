"""What a limits report holds, as `transferkit.limits` returns it and limits.json keeps it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from transferkit.data.images import Pixels
from transferkit.report.study_result import StudyResult
from transferkit.runs.result_folders import LIMITS
from transferkit.runs.small_pictures import PictureSheet
from transferkit.runtime.array_records import read_array_record, write_array_record
from transferkit.runtime.json_files import SCHEMAS
from transferkit.studies.limits.abstaining import CandidateSets, SelectiveReport
from transferkit.studies.limits.corruption_severity import CorruptionReport
from transferkit.studies.limits.deployment import DeploymentReport
from transferkit.studies.limits.distribution_shift import ShiftReport
from transferkit.studies.limits.error_slices import SlicesReport
from transferkit.studies.limits.gallery import GalleryGroup
from transferkit.studies.limits.in_distribution import CalibrationReport, Contract, OwnTest
from transferkit.studies.limits.leave_out import HeldOutReport
from transferkit.studies.limits.nonsense import NonsenseRow
from transferkit.studies.limits.nuisance import SweepReport
from transferkit.studies.limits.open_world import OpenWorldReport
from transferkit.studies.limits.out_of_distribution import UnknownReport
from transferkit.studies.limits.settings import HALVED, LimitsSettings
from transferkit.studies.limits.shares import NotMeasured, OrReason
from transferkit.studies.limits.strips import StripRow

PICTURES_FILE = "pictures.safetensors"
BEFORE_SLICES = NotMeasured("this report was made by an earlier version")

Light = Literal["red", "amber", "none"]
State = Literal["fired", "not fired", "not tested"]


@dataclass(frozen=True)
class SummaryLine:
    """A sentence of the first page with its evidence.

    Attributes:
        id: Of its rule, S1 ... S12; OK for the sentence that no limit was found.
        light: How serious it is.
    """

    id: str
    light: Light
    text: str
    evidence: str


@dataclass(frozen=True)
class RuleState:
    """A rule of the summary: what it looks at, the threshold's name and value, and what came of it."""

    id: str
    about: str
    rule: str
    threshold: float
    state: State


@dataclass(frozen=True)
class Summary:
    """The first page: at most ten lines, the state of every rule, and what was not tested."""

    lines: tuple[SummaryLine, ...] = ()
    rules: tuple[RuleState, ...] = ()
    not_tested: tuple[str, ...] = ()


@dataclass(frozen=True, repr=False)
class LimitsReport(StudyResult):
    """Where not to trust a finished run.

    Attributes:
        command: That made it.
        settings: What was asked for.
        notes: What a reader must know of the images.
        contract: What the run promises.
        test: Its own test images.
        calibration: Whether its confidence can be believed.
        selective: What abstaining would buy.
        conformal: Candidate sets, by what they promise.
        corruptions: Noise, blur, weather, compression.
        shift: Other images of its classes, by set.
        unknown: Images of classes that it does not know.
        leave_out: Its own classes held out.
        nonsense: Images that show nothing, by kind.
        nuisance: Harmless changes in steps; None where not asked for.
        open_world: Errors where some inputs show unknown things.
        field: Unlabelled images from where it is to be used; None where there were none.
        slices: Groups of alike test images on which it is shown to be worse.
        made: When, ISO 8601.
        gallery: Pictures worth a look, as numbers into pictures.safetensors; likewise `strips`.
        summary: The first page.
        seconds: The time that all this took.
        folder: Where it and its page are.
        schema: Of limits.json.
    """

    KIND = LIMITS

    command: str
    settings: LimitsSettings
    notes: tuple[str, ...]
    contract: Contract
    test: OwnTest
    calibration: CalibrationReport
    selective: SelectiveReport
    conformal: tuple[CandidateSets, ...]
    corruptions: OrReason[CorruptionReport]
    shift: tuple[ShiftReport, ...]
    unknown: UnknownReport
    leave_out: OrReason[HeldOutReport]
    nonsense: tuple[NonsenseRow, ...]
    nuisance: SweepReport | None
    open_world: OpenWorldReport
    field: DeploymentReport | None
    slices: OrReason[SlicesReport] = BEFORE_SLICES
    made: str = ""
    gallery: tuple[GalleryGroup, ...] = ()
    strips: tuple[StripRow, ...] = ()
    summary: Summary = Summary()
    seconds: float = 0.0
    folder: str = ""
    schema: int = SCHEMAS[LIMITS.result]

    @property
    def threshold_images(self) -> str:
        """What thresholds are set by, beside their number: with val learnt from, half of the test images."""
        is_halved = any(HALVED in note for note in self.notes)
        return "test images, the half that sets thresholds" if is_halved else "val images"

    def _headline(self) -> str:
        lines = "\n".join(f"  {line.id}: {line.text}" for line in self.summary.lines)
        return f"LimitsReport of {self.contract.run}:\n{lines}"

    def _notebook_page(self) -> str:
        from transferkit.studies.limits.page import limits_page

        return limits_page(self, gallery_pixels(Path(self.folder)))


def gallery_pixels(folder: Path) -> Pixels:
    """The pictures (N, 3, h, w) that a report's gallery and strips number.

    Raises:
        TransferkitError: If their file is missing, damaged or something else.
    """
    return read_array_record(folder / PICTURES_FILE, PictureSheet, "pictures").pixels


def write_gallery(folder: Path, pixels: Pixels) -> None:
    """Keep these pictures."""
    write_array_record(folder / PICTURES_FILE, PictureSheet(pixels))
