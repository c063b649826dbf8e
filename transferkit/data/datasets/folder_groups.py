"""What a person should hear about groups: which stay together, which were parted by hand, which were not named."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from transferkit.data.datasets.layout import Layout, Part, class_name, escaped
from transferkit.data.images import Images

SHOWN = 3  # names of folders and groups


def group_notes(layout: Layout, parts: dict[str, Images], *, is_carved: bool) -> list[str]:
    """Lines for the screen and the report.

    Args:
        layout: Where the files lie.
        parts: Train, val and test as the run will use them.
        is_carved: Whether any part was split off by chance.
    """
    if layout.has_groups:
        return [_kept_together(parts), *_shared_groups(parts)]
    if not layout.by_folders:
        return []
    folders = {name: _subfolders(part) for name, part in layout.parts.items()}
    if not any(folders.values()):
        return []
    patient_first = _patient_first_note(layout.train)
    return patient_first or [*_parted_note(folders["train"], is_carved), *_repeated_note(folders)]


def _kept_together(parts: dict[str, Images]) -> str:
    counts = ", ".join(f"{len(set(images.groups or ())):,} in {name}" for name, images in parts.items())
    return f"images of one group stay in one part; groups: {counts}"


def _shared_groups(parts: dict[str, Images]) -> list[str]:
    """Groups that the user's own parts have in common."""
    learned = {group for name in ("train", "val") for group in parts[name].groups or ()}
    tested = set(parts["test"].groups or ())
    return _warned(learned & tested, len(tested), "groups of test are in train or val, too") + _warned(
        set(parts["train"].groups or ()) & set(parts["val"].groups or ()),
        len(set(parts["val"].groups or ())),
        "groups of val are in train, too",
    )


def _warned(shared: set[str], total: int, words: str) -> list[str]:
    if not shared:
        return []
    shared_words = f"{len(shared):,} of {total:,} {words} ({listed(sorted(shared))})"
    return [f"WARNING: {shared_words}. What is measured there may be memory."]


def _parted_note(subfolders: Sequence[str], is_carved: bool) -> list[str]:
    """Class folders with folders in them, whose images chance would put into several parts."""
    if not is_carved or not subfolders:
        return []
    return [
        f"WARNING: the class folders hold {len(subfolders):,} folders ({listed(subfolders)}), and images of one folder "
        "lie in train as well as in val or test. If a folder is one patient, video or place, the network can recognise "
        "it instead of the class, and the accuracy is too good to be true: --group parent keeps each in one part."
    ]


def _repeated_note(folders: dict[str, list[str]]) -> list[str]:
    """Folders of one name in train and in test, which may be the same patient."""
    shared = set(folders["train"]) & set(folders.get("test", []))
    if not shared:
        return []
    return [
        f"WARNING: {len(shared):,} folders inside class folders have the same name in train and in test "
        f"({listed(sorted(shared))}). If a folder is one patient, video or place, the test part is no test."
    ]


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


def _patient_first_note(train: Part) -> list[str]:
    """Many class folders that all hold the same few folders: these may be the classes, and the others patients."""
    inside: dict[str, set[str]] = defaultdict(set)
    for outer, inner in _folder_pairs(train):
        inside[outer].add(inner)
    names = set().union(*inside.values())
    is_first = len(inside) == len(train.class_names) and 2 <= len(names) < len(inside)
    if not is_first or any(len(folders) < len(names) / 2 for folders in inside.values()):
        return []
    return [
        f"WARNING: the {len(inside):,} folders read as classes ({listed(sorted(inside))}) all hold folders of the "
        f"same names ({listed(sorted(names))}). If these are the classes and the outer folders patients, videos or "
        "places, type --group grandparent."
    ]


def listed(names: Iterable[str]) -> str:
    """The first few names."""
    names = list(names)
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
