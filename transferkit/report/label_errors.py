"""What the report says about the labels: likely errors, and test images that are also in train."""

from __future__ import annotations

from dataclasses import dataclass

from transferkit.report import number_words as words
from transferkit.report.content import Content
from transferkit.report.inline_images import data_uri
from transferkit.runs.label_check import (
    CheckedAccuracy,
    CheckedPart,
    DuplicatePair,
    LabelCheck,
    LabelError,
    LabelledImage,
)
from transferkit.runs.small_pictures import ByIndex
from transferkit.runtime.plurals import counted

SHOWN = 24  # of each kind

JUDGES = {
    "start": "features that have not learnt from them (the weights the run started from)",
    "scratch": "the run's own features, which have learnt from these labels, so that errors in train are missed",
}


@dataclass(frozen=True)
class PicturedImage:
    """An image that was found, and its picture as a data URI; empty where none was kept."""

    image: LabelError | LabelledImage
    picture: str


@dataclass(frozen=True)
class PicturedPair:
    """A test image and its like in train."""

    pair: DuplicatePair
    sides: tuple[PicturedImage, PicturedImage]


@dataclass(frozen=True)
class PartSection:
    """What was found in train or in test."""

    title: str
    words: str
    rows: tuple[PicturedImage, ...]


@dataclass(frozen=True)
class LabelSection:
    """The section's words, tables and pictures."""

    words: str
    accuracy: tuple[CheckedAccuracy, ...]
    parts: tuple[PartSection, ...]
    duplicate_words: str
    pairs: tuple[PicturedPair, ...]


def label_section(content: Content) -> LabelSection | None:
    """What was found, with its pictures; None where nobody looked."""
    check = content.labels
    if check is None:
        return None
    train, test = content.label_pictures.train, content.label_pictures.test
    return LabelSection(
        _words(content, check),
        check.accuracy,
        (_part("train", check.train, train), _part("test", check.test, test)),
        _duplicate_words(check),
        tuple(
            PicturedPair(pair, (_pictured(pair.test, test), _pictured(pair.train, train)))
            for pair in check.duplicates[:SHOWN]
        ),
    )


def _words(content: Content, check: LabelCheck) -> str:
    judge = JUDGES[check.judge]
    wrong = words.percent(1 - content.scores.accuracy if content.scores else None)
    return (
        f"Train labels were judged by a cross-validated linear probe on {judge}; test labels by the run's own outputs; "
        "both by confident learning (cleanlab). These are suggestions to look at, and all of them are in labels.csv: "
        f"this network is wrong about {wrong} of the test images, and cleanlab cannot always tell its errors from "
        "those of the labels."
    )


def _part(name: str, part: CheckedPart, pictures: ByIndex) -> PartSection:
    rows, n = part.issues, part.n
    share = f" ({100 * len(rows) / n:.1f} %)" if n else ""
    sampled = f", a sample of {part.of:,}" if n < part.of else ""
    expected = f"; {part.expected_in_words}" if part.expected_in_words else ""
    shown = f" Below: the {SHOWN} whose label is least probable." if len(rows) > SHOWN else ""
    return PartSection(
        f"{part.kind.capitalize()} in {name}",
        f"{len(rows):,} of {counted(n, 'image')}{share}{sampled}{expected}. What the label "
        f"says, and what it may be.{shown}",
        tuple(_pictured(row, pictures) for row in rows[:SHOWN]),
    )


def _pictured(image: LabelError | LabelledImage, pictures: ByIndex) -> PicturedImage:
    picture = pictures.get(image.index)
    return PicturedImage(image, "" if picture is None else data_uri(picture))


def _duplicate_words(check: LabelCheck) -> str:
    pairs, n = check.duplicates, check.test.n
    kinds = ", ".join(
        f"{count:,} by {kind}"
        for kind in ("same pixels", "hash", "features")
        if (count := sum(pair.kind == kind for pair in pairs))
    )
    among = f" (looked for among {counted(check.train.n, 'training image')})"
    how = (
        ". A near-duplicate is close by difference hash or by features, and correlates with its like in grey at 16 px; "
        "simple drawings, such as digits, can be so without being copies."
    )
    return (
        f"{len(pairs):,} of {counted(n, 'test image')}{f': {kinds}' if kinds else ''}{among}{how} "
        "Test left, train right."
    )
