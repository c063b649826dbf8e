"""Groups in folders: which were named, and folders inside class folders that may be groups."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from transferkit.data.datasets.layout import Layout, Part, class_name, escaped
from transferkit.data.file_facts import FileFacts, Names
from transferkit.data.images import Images


def with_folders(files: FileFacts, layout: Layout, *, is_carved: bool) -> FileFacts:
    """The facts with those of folders inside class folders, which may be patients, videos or places.

    Args:
        files: What was seen of the files.
        layout: Where they lie; nothing is added where groups were named.
        is_carved: Whether any part was split off by chance.
    """
    if layout.has_groups or not layout.by_folders:
        return files
    if patients_first := _patients_first(layout.train):
        outer, inner = patients_first
        return replace(files, outer_folders=outer, inner_folders=inner)
    folders = {name: _subfolders(part) for name, part in layout.parts.items()}
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


def _patients_first(train: Part) -> tuple[Names | None, Names | None] | None:
    """Many class folders that all hold the same few folders: these may be the classes, and the others patients."""
    inside: dict[str, set[str]] = defaultdict(set)
    for outer, inner in _folder_pairs(train):
        inside[outer].add(inner)
    names = set().union(*inside.values())
    is_first = len(inside) == len(train.class_names) and 2 <= len(names) < len(inside)
    if not is_first or any(len(folders) < len(names) / 2 for folders in inside.values()):
        return None
    return Names.some(sorted(inside), len(inside)), Names.some(sorted(names), len(names))
