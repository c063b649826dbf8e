"""What differs between two folders of results, apart from when, where and with how many workers they were made."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from transferkit.runtime.files import read_arrays
from transferkit.runtime.locks import HOLDER, LOCK

TIMES = {"seconds", "started", "fit_seconds", "images_per_second", "predicted_images_per_second"}
PLACES = {"command", "folder", "runs", "run"}
MACHINE = {"peak_memory_bytes"}
APART = TIMES | PLACES | MACHINE  # docs/scale.md states this list
PAGES = {".html", ".md"}  # made of the files beside them, and show these keys
NOT_RESULTS = {LOCK, HOLDER}


def differences(first: Path, second: Path) -> list[str]:
    """Files that only one folder has, and the keys and tensors in which files of one name differ."""
    names, others = (set(_names(folder)) for folder in (first, second))
    lonely = [f"{name}: in one folder alone" for name in sorted(names ^ others)]
    return lonely + [
        f"{name}: {where}" for name in sorted(names & others) for where in _different(first / name, second / name)
    ]


def _names(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*"):
        if path.is_file() and path.name not in NOT_RESULTS:
            yield path.relative_to(folder).as_posix()


def _different(a: Path, b: Path) -> list[str]:
    if a.suffix in PAGES:
        return []
    if a.suffix == ".safetensors":
        (tensors, facts), (other_tensors, other_facts) = read_arrays(a), read_arrays(b)
        unequal = [name for name in tensors if not np.array_equal(tensors[name], other_tensors.get(name))]
        return unequal + _unequal_keys(facts, other_facts)
    if a.suffix == ".json":
        return _unequal_keys(*(json.loads(path.read_text()) for path in (a, b)))
    if a.suffix == ".jsonl":
        return _unequal_keys(*([json.loads(line) for line in path.read_text().splitlines()] for path in (a, b)))
    if a.name == "recipe.yaml":  # its first line names the folder
        return ["text"] * (a.read_text().split("\n", 1)[1] != b.read_text().split("\n", 1)[1])
    return ["bytes"] * (a.read_bytes() != b.read_bytes())


def _unequal_keys(a: Any, b: Any, where: str = "") -> list[str]:
    if isinstance(a, dict) and isinstance(b, dict):
        keys = (a.keys() | b.keys()) - APART
        return [fault for key in sorted(keys) for fault in _unequal_keys(a.get(key), b.get(key), f"{where}.{key}")]
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        pairs = enumerate(zip(a, b, strict=True))
        return [fault for index, (one, other) in pairs for fault in _unequal_keys(one, other, f"{where}[{index}]")]
    return [] if a == b else [where]
