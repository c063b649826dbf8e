"""Limits reports made up by hand, for the tests of what is said about them."""

from __future__ import annotations

from dataclasses import is_dataclass
from typing import Any

from transferkit.metrics.results import CalibrationBin, ClassResult
from transferkit.runtime.records import as_json, from_json
from transferkit.studies.limits.abstaining import Promise, SelectiveReport
from transferkit.studies.limits.calls import Calls
from transferkit.studies.limits.contamination import Overlap
from transferkit.studies.limits.corruption_severity import CorruptionCell, CorruptionReport, CorruptionRow
from transferkit.studies.limits.detectors import ScoreRow
from transferkit.studies.limits.distribution_shift import Gap, ShiftReport
from transferkit.studies.limits.error_slices import SliceRow, SlicesReport
from transferkit.studies.limits.gallery import GalleryItem
from transferkit.studies.limits.in_distribution import CalibrationReport, CalibrationRow, Contract, Duplicates, OwnTest
from transferkit.studies.limits.leave_out import HeldOutMean, HeldOutReport, HeldOutRow, HeldOutScore
from transferkit.studies.limits.low_level import LowLevel
from transferkit.studies.limits.nonsense import NonsenseRow
from transferkit.studies.limits.open_world import OpenWorldCell, OpenWorldReport, OpenWorldRow, OpenWorldTable
from transferkit.studies.limits.out_of_distribution import Histogram, UnknownReport, UnknownSet
from transferkit.studies.limits.report import LimitsReport
from transferkit.studies.limits.settings import LimitsSettings
from transferkit.studies.limits.shares import NotMeasured, Share


def share(value: float, n: int = 100) -> Share:
    """A share with an interval of ten points to either side."""
    return Share(round(value * n), n, (max(0.0, value - 0.1), min(1.0, value + 0.1)))


def score_row(auroc: float | None = 0.97, interval: tuple[float, float] | None = (0.96, 0.98)) -> ScoreRow:
    return ScoreRow(auroc, interval, False, 1.0, 0.1, (0.05, 0.15), share(0.95), 0.1, 0.9)


def unknown_set(name: str = "stones") -> UnknownSet:
    shares = dict.fromkeys(("right", "wrong", "unknown"), (0.5, 0.5))
    return UnknownSet(
        name=name,
        source="a folder",
        n=500,
        classes=1,
        native_px=32,
        n_native=0,
        notes=(),
        near=True,
        scores={"knn": score_row()},
        accepted=share(0.2),
        confidence=0.5,
        low_level=LowLevel(0.7, "contrast"),
        overlap=Overlap((), 0, share(0.0), False),
        calls=Calls((), 0, (), {"cat": 5, "dog": 3}),
        histogram=Histogram((0.0, 1.0, 2.0), shares, 1.0),
    )


def shift(name: str, own: float = 0.8, there: float = 0.8) -> ShiftReport:
    return ShiftReport(
        name=name,
        source="a folder",
        n=100,
        native_px=32,
        mapping="all classes.",
        notes=(),
        accuracy=share(there),
        own=share(own),
        gap=Gap(own - there, (own - there - 0.1, own - there + 0.1)),
        masked_accuracy=None,
        ece=0.01,
        silent=share(0.0),
        rejected=share(0.1),
        atc=there,
        doc=there,
        effective=None,
    )


def corruptions(clean: float = 0.95, mca: float = 0.94) -> CorruptionReport:
    """Fog at severity 1 alone."""
    return CorruptionReport(
        recipe="our recipe",
        is_fast=True,
        drop=0.1,
        n=9,
        severities=(1,),
        clean=share(clean),
        cells=(CorruptionCell("fog", 1, share(0.94), 0.99, 0.01, share(0.01), None, share(0.1)),),
        corruptions=(CorruptionRow("fog", "weather", 0.94, None, share(0.01)),),
        families={"weather": {1: 0.94, 3: 0.9}},
        mca=mca,
        mca_interval=(mca - 0.01, mca + 0.01),
        retention=0.99,
        by_severity={1: 0.94},
        published=None,
        checksum="00",
    )


def held_out(aurocs: list[float]) -> HeldOutReport:
    """One class after the other, called by its number."""
    rows = tuple(
        HeldOutRow((str(number),), 15, {"knn": HeldOutScore(auroc, None, None)}, {}, None)
        for number, auroc in enumerate(aurocs)
    )
    mean = sum(aurocs) / len(aurocs)
    return HeldOutReport("by refits.", True, "knn", rows, {"knn": HeldOutMean(mean, None, (mean, mean), 1, None)})


def open_world(name: str) -> OpenWorldReport:
    cells = (OpenWorldCell(0.1, 0.2, (0.1, 0.3)), OpenWorldCell(0.5, None, None))
    row = OpenWorldRow("set", name, 500, 0.2, cells, 0.05, (0.0, 0.1))
    return OpenWorldReport(0.02, (0.1, 0.5), (OpenWorldTable("shipped", 0.95, 0.02, (row,)),))


def calm() -> LimitsReport:
    """A report in which no rule fires."""
    row = ClassResult("cat", 500, 0.95, (0.93, 0.97), 0.95, (0.93, 0.97), 0.95, None, None)
    raw = CalibrationRow(0.1, 0.1, 0.01, (0.0, 0.02), 0.01, 0.01, 0.0, 500)
    promise = Promise(0.02, 0.8, 500, 0.5, share(0.8), share(0.01))
    return LimitsReport(
        command="transferkit limits run",
        settings=LimitsSettings(),
        notes=(),
        contract=contract(),
        test=OwnTest(1000, 0.95, (0.94, 0.97), 0.96, (row,), ((950,),), row, Duplicates(0, 1000, None)),
        calibration=CalibrationReport(
            None, None, "too few", {"raw": raw}, (CalibrationBin(0.8, 1.0, 10, 0.9, 0.8, (0.7, 0.9)),), "calm", ()
        ),
        selective=SelectiveReport(
            0.1, 0.1, 0.9, (0.5, 1.0), (0.1, 0.2), 1000, share(0.2), 0.05, (), (promise,), promise
        ),
        conformal=(),
        corruptions=corruptions(),
        shift=(),
        unknown=UnknownReport(("knn",), "knn", {}, {}, (unknown_set(),), {}, None),
        leave_out=NotMeasured("not asked for"),
        nonsense=(NonsenseRow("uniform_noise", True, 200, share(0.0), None, 0.3, "cat", 0.9),),
        nuisance=None,
        open_world=OpenWorldReport(0.02, (0.1,), ()),
        field=None,
        slices=SlicesReport(100, False, ()),
    )


def error_slice(right: int = 20, n: int = 50) -> SliceRow:
    """Half cats, half dogs."""
    accuracy = Share(right, n, (right / n - 0.1, right / n + 0.1))
    item = GalleryItem(0, "slice-image", "dog", "cat", 0.8, 40)
    halves = {"cat": n // 2, "dog": n - n // 2}
    return SliceRow(accuracy, share(0.95, 950), 0.001, 0.9, 0.85, share(0.1), halves, halves, ("slice-image",), (item,))


def contract() -> Contract:
    return Contract(
        run="run",
        backbone="resnet18",
        weights=None,
        method="linear probe",
        input_px=32,
        native_px=(32, 32),
        data="digits",
        limit_per_class=None,
        classes=("cat", "dog"),
        n={"train": 10, "val": 500, "test": 1000},
        n_of_class=(500, 500),
        seed=0,
        made=None,
        fingerprint={},
        model_digest="00",
        sentence="It can answer only one of these 2 classes.",
        score="knn",
        threshold=1.0,
        threshold_reason="",
        n_thresholds=500,
    )


def changed(report: LimitsReport, path: str, value: Any) -> LimitsReport:
    """The report with another value at a place such as `unknown/sets/0/n`."""
    content = as_json(report)
    place, (*keys, last) = content, path.split("/")
    for key in keys:
        place = place[int(key) if isinstance(place, list) else key]
    place[int(last) if isinstance(place, list) else last] = as_json(value) if is_dataclass(value) else value
    return from_json(content, LimitsReport, "the report")
