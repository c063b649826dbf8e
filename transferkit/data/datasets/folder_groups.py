"""Groups in folders: which were named, and folders inside class folders that may be groups."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias

from transferkit.data.datasets.layout import Layout, Part, class_name, escaped
from transferkit.data.file_facts import FileFacts, Names
from transferkit.data.images import Images

UNIT = re.compile(  # what pictures belong to, with its number: patient01, sub-3, Study_A2, series1b
    r"(patient|pat|subject|subj|sub|participant|person|donor|animal|study|case|scan|series|session|visit|video|clip|"
    r"slide|sample|specimen|site)s?[ _.-]?[a-z]?\d+\w*",
    re.IGNORECASE,
)
Swapped: TypeAlias = tuple[set[str], set[str], int]  # folders read as classes, those that may be, how far below


def with_folders(files: FileFacts, layout: Layout, val_fraction: float) -> FileFacts:
    """The facts with those of folders inside class folders, which may be patients, videos or places.

    Args:
        files: What was seen of the files.
        layout: Where they lie; nothing is added where groups were named.
        val_fraction: Of train, split off by chance where val is not apart.
    """
    if layout.has_groups or not layout.by_folders:
        return files
    if (swapped := _patients_first(layout.train) or _named_as_units(layout.train)) is not None:
        outer, inner, depth = swapped
        return replace(files, outer_folders=_names(outer), inner_folders=_names(inner), inner_depth=depth)
    folders = {name: _subfolders(part) for name, part in layout.parts.items()}
    is_carved = layout.test is None or (layout.val is None and val_fraction > 0)
    parted = folders["train"] if is_carved else []
    tested = folders.get("test", [])
    repeated = sorted(set(folders["train"]) & set(tested))
    return replace(
        files,
        parted_folders=Names.some(parted, len(folders["train"])),
        repeated_folders=Names.some(repeated, len(tested)),
    )


def group_notes(layout: Layout, parts: dict[str, Images]) -> list[str]:
    """How many groups each part has, where groups were named."""
    if not layout.has_groups:
        return []
    counts = ", ".join(f"{len(set(images.groups or ())):,} in {name}" for name, images in parts.items())
    return [f"images of one group stay in one part; groups: {counts}"]


def _subfolders(part: Part) -> list[str]:
    """The names of the folders directly inside class folders, sorted."""
    return sorted({inside for _, inside in _folder_pairs(part)})


def _folder_pairs(part: Part) -> set[tuple[str, str]]:
    """Class folder and folder inside it of each image that lies deeper than its class folder."""
    pairs = set()
    for file in part.files:
        *folders, _ = file.path.split("/")
        depth = _class_depth(folders, file.label)
        if depth + 1 < len(folders):
            pairs.add((folders[depth], escaped(folders[depth + 1])))
    return pairs


def _class_depth(folders: Sequence[str], label: str) -> int:
    """Which folder of the path is the class: the first, or the second below train, val or test."""
    return 0 if folders and class_name(folders[0]) == label else 1


def _names(names: set[str]) -> Names | None:
    return Names.some(sorted(names), len(names))


def _named_as_units(train: Part) -> Swapped | None:
    """Class folders that are all named as patients or the like, with folders in them that may be the classes.

    The classes are at the first level below where not all are named so; at none, no folder has a class's name.
    """
    levels: list[set[str]] = []
    for file in train.files:
        *folders, _ = file.path.split("/")
        for depth, name in enumerate(folders[_class_depth(folders, file.label) :]):
            if depth == len(levels):
                levels.append(set())
            levels[depth].add(escaped(name))
    of_units = [all(UNIT.fullmatch(name) for name in names) for names in levels]
    if len(levels) < 2 or not of_units[0]:
        return None
    depth = of_units.index(False) if False in of_units else 0
    return levels[0], levels[depth] if depth else set(), depth or 1


def _patients_first(train: Part) -> Swapped | None:
    """Many class folders that all hold the same few folders: these may be the classes, and the others patients."""
    inside: dict[str, set[str]] = defaultdict(set)
    for outer, inner in _folder_pairs(train):
        inside[outer].add(inner)
    names = set().union(*inside.values())
    is_first = len(inside) == len(train.class_names) and 2 <= len(names) < len(inside)
    if not is_first or any(len(folders) < len(names) / 2 for folders in inside.values()):
        return None
    if all(UNIT.fullmatch(name) for name in names):
        return None
    return set(inside), names, 1
