"""What the report says about the labels: likely errors, and test images that are also in train."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from transferkit.report import number_words as words
from transferkit.report.content import Content
from transferkit.report.inline_images import data_uri

SHOWN = 24  # of each kind

Pictures = Mapping[int, npt.NDArray[np.uint8]]

JUDGES = {
    "start": "features that have not learnt from them (the weights the run started from)",
    "scratch": "the run's own features, which have learnt from these labels, so that errors in train are missed",
}


def labelled(content: Content) -> dict[str, Any]:
    """The section's words, tables and pictures; {} where nobody looked."""
    found = content.labels
    if not found:
        return {}
    pictures = {part: content.label_pictures.get(part, {}) for part in ("train", "test")}
    return {
        "words": _words(content),
        "accuracy": found["accuracy"],
        "parts": [_part(name, found[name], pictures[name]) for name in ("train", "test")],
        "duplicate_words": _duplicate_words(found),
        "pairs": [
            {**pair, **{side: _pictured(pair[side], pictures[side]) for side in ("test", "train")}}
            for pair in found["duplicates"][:SHOWN]
        ],
    }


def _words(content: Content) -> str:
    judge = JUDGES[content.labels["judge"]]
    wrong = words.percent(1 - content.scores.accuracy if content.scores else None)
    return (
        f"Train labels were judged by a cross-validated linear probe on {judge}; test labels by the run's own outputs; "
        "both by confident learning (cleanlab). These are suggestions to look at, and all of them are in labels.csv: "
        f"this network is wrong about {wrong} of the test images, and cleanlab cannot always tell its errors from "
        "those of the labels."
    )


def _part(name: str, part: Mapping[str, Any], pictures: Pictures) -> dict[str, Any]:
    rows, n = part["issues"], part["n"]
    share = f" ({100 * len(rows) / n:.1f} %)" if n else ""
    sampled = f", a sample of {part['of']:,}" if n < part["of"] else ""
    shown = f" Below: the {SHOWN} whose label is least probable." if len(rows) > SHOWN else ""
    return {
        "title": f"Likely label errors in {name}",
        "words": f"{len(rows):,} of {n:,} images{share}{sampled}: what the label says, and what it may be.{shown}",
        "rows": [_pictured(row, pictures) for row in rows[:SHOWN]],
    }


def _pictured(row: Mapping[str, Any], pictures: Pictures) -> dict[str, Any]:
    picture = pictures.get(row["index"])
    return {**row, "picture": "" if picture is None else data_uri(picture)}


def _duplicate_words(found: Mapping[str, Any]) -> str:
    pairs, n = found["duplicates"], found["test"]["n"]
    kinds = ", ".join(
        f"{count:,} by {kind}"
        for kind in ("same pixels", "hash", "features")
        if (count := sum(pair["kind"] == kind for pair in pairs))
    )
    among = f" (looked for among {found['train']['n']:,} training images)"
    how = (
        ". A near-duplicate is close by difference hash or by features, and correlates with its like in grey at 16 px; "
        "simple drawings, such as digits, can be so without being copies."
    )
    return f"{len(pairs):,} of {n:,} test images{f': {kinds}' if kinds else ''}{among}{how} Test left, train right."
