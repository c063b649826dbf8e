"""What was measured, one JSON file per row, arm, seed, precision and code; the cache from which the table is made."""

from __future__ import annotations

import base64
import json
import os
import uuid
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from finetuning.settings import Setting

FORMAT = 1


@dataclass(frozen=True)
class Record:
    """One arm on one draw of a setting.

    Attributes:
        setting: Its name and key.
        arm: A column of the table.
        code: Fingerprint of transferkit's code, or a rival's version.
        correct: (N,) whether each test image was named rightly; empty where the arm failed.
        error: Why it failed; empty where it did not.
        about: Seconds, choices, machine, precision, date, commit.
    """

    setting: str
    key: str
    arm: str
    seed: int
    code: str
    correct: npt.NDArray[np.bool_] = field(compare=False)
    error: str = ""
    about: dict[str, Any] = field(default_factory=dict, compare=False)

    @property
    def accuracy(self) -> float:
        """In [0, 1]; NaN where the arm failed."""
        return float(self.correct.mean()) if len(self.correct) else float("nan")


def folder_of(cache: Path, setting: Setting, arm: str) -> Path:
    """Where the records of one row and arm lie."""
    return cache / "records" / f"{setting.name.replace(' ', '-')}-{setting.key}" / arm.replace(" ", "-")


def save(cache: Path, setting: Setting, record: Record) -> Path:
    """Write a record, whole or not at all."""
    folder = folder_of(cache, setting, record.arm)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{record.seed}-{record.about['precision']}-{record.code}.json"
    draft = path.with_suffix(f".{uuid.uuid4().hex}")
    draft.write_text(json.dumps({"format": FORMAT, "accuracy": record.accuracy, **_plain(record)}, indent=1))
    os.replace(draft, path)
    return path


def _plain(record: Record) -> dict[str, Any]:
    values = asdict(record)
    values["n"] = len(record.correct)
    values["correct"] = base64.b64encode(np.packbits(record.correct).tobytes()).decode()
    return values


def read(path: Path) -> Record:
    """A record from its file."""
    values = json.loads(path.read_text())
    bits = np.frombuffer(base64.b64decode(values.pop("correct")), dtype=np.uint8)
    correct = np.unpackbits(bits, count=values["n"]).astype(bool)
    names = ("setting", "key", "arm", "seed", "code", "error", "about")
    return Record(correct=correct, **{name: values[name] for name in names})


def measured(cache: Path, setting: Setting, arm: str, precision: str, code: str | None = None) -> dict[int, Record]:
    """The records of a row and arm by seed: those of this code, or without it, of the code measured last."""
    paths = folder_of(cache, setting, arm).glob(f"*-{precision}-{code or '*'}.json")
    records = sorted((read(path) for path in paths), key=lambda record: record.about["date"])
    if code is None and records:
        code = records[-1].code
    return {record.seed: record for record in records if record.code == code}
