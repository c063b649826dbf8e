"""What transferkit keeps on disk besides runs: features, decoded images, downloads; how much it is, and its removal."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from transferkit.data.datasets import folder_cache
from transferkit.data.datasets.folder_cache import DecodedFacts
from transferkit.features import inventory
from transferkit.features.inventory import BUDGET_VARIABLE, Entry, budget_bytes
from transferkit.runtime import cached_files
from transferkit.runtime.cache_place import cache_folder
from transferkit.runtime.errors import TransferkitError, did_you_mean
from transferkit.runtime.plurals import counted
from transferkit.runtime.records import read_record

FOLDERS = {
    "features": ("features",),
    "images": ("images",),
    "downloads": ("downloads", "datasets", "weights"),  # archives, what was unpacked from them, weights
    "sheets": ("sheets",),  # of augmented examples, drawn by --dry-run
    "given": ("given",),  # images given in Python, of which this may be the only file
}


@dataclass(frozen=True)
class StoredItem:
    """One item of a cache.

    Attributes:
        cache: features, images, downloads, sheets or given.
        what: Of which network and layer, of which size, or which file.
        of: The data set or folder it was made from; empty where that is not known.
        images: How many; None where it is not counted.
        bytes: On disk.
        last_used: Seconds since the epoch.
    """

    cache: str
    what: str
    of: str
    images: int | None
    bytes: int
    last_used: float


def sizes() -> Iterator[str]:
    """A line per cache, the foreign ones that weights are also read from included."""
    for name in FOLDERS:
        folders = " and ".join(str(folder) for folder in folders_of(name))
        limit = f", of {budget_bytes() / 1e9:,.1f} GB ({BUDGET_VARIABLE})" if name == "features" else ""
        yield f"{name:10} {megabytes(sum(folder_bytes(folder) for folder in folders_of(name)))}{limit}  {folders}"
    for name, folder in foreign_folders().items():
        yield f"{name:10} {megabytes(folder_bytes(folder))}, shared with other programs  {folder}"


def stored_items() -> Iterator[StoredItem]:
    """Every item of every cache: features, what was used last first; then images, downloads, sheets, given images."""
    yield from _together(map(_features, reversed(inventory.entries())))
    for name in ("images", "downloads", "sheets", "given"):
        paths = sorted(path for folder in folders_of(name) if folder.is_dir() for path in _things(folder))
        yield from (_decoded(path) if name == "images" else _file(name, path) for path in paths)


def _together(features: Iterable[StoredItem]) -> Iterable[StoredItem]:
    """Those of one network and layer on one set of images as one, however many segments hold them."""
    sums: dict[tuple[str, str], StoredItem] = {}
    for part in features:
        known = sums.get((part.what, part.of), replace(part, images=0, bytes=0))
        images = (known.images or 0) + (part.images or 0)
        sums[part.what, part.of] = replace(known, images=images, bytes=known.bytes + part.bytes)
    return sums.values()


def _things(folder: Path) -> Iterator[Path]:
    """Folders that were unpacked or decoded count as one thing, files of weights one by one."""
    paths = folder.rglob("*") if folder.name == "weights" else folder.iterdir()
    return (path for path in paths if not path.name.startswith(".") and (path.is_file() or folder.name != "weights"))


def _features(entry: Entry) -> StoredItem:
    key, about = entry.key, entry.about
    network = about.network or f"weights {key.weights[:8]}"
    what = f"{network}, layer {key.layer}, {key.preparation.size} px, {key.precision}"
    return StoredItem("features", what, about.images, entry.rows, entry.bytes, entry.last_used)


def _decoded(place: Path) -> StoredItem:
    """A folder of decoded images; one without its facts was left half done."""
    try:
        facts = read_record(place / "facts.json", DecodedFacts)
        what, root = f"decoded, {facts.size_px} px, {facts.fit}", str(ast.literal_eval(facts.root))
        images = (place / "digests.u8").stat().st_size // facts.digest_bytes
        used = (place / "facts.json").stat().st_mtime
    except (OSError, ValueError, SyntaxError, TransferkitError):
        return StoredItem("images", f"incomplete, {place.name}", "", None, folder_bytes(place), place.stat().st_mtime)
    return StoredItem("images", what, root, images, folder_bytes(place), used)


def _file(cache: str, path: Path) -> StoredItem:
    folder = next(folder for folder in folders_of(cache) if path.is_relative_to(folder))
    used = max(path.stat().st_atime, path.stat().st_mtime)
    return StoredItem(cache, path.relative_to(folder).as_posix(), "", None, folder_bytes(path), used)


def clear_caches(what: str) -> dict[str, int]:
    """Remove one cache, or `all` that can be made or downloaded again; the bytes freed by each.

    Raises:
        TransferkitError: If there is no such cache.
    """
    if what != "all" and what not in FOLDERS:
        raise TransferkitError(f"Unknown cache {what!r}. {did_you_mean(what, [*FOLDERS, 'all'])}")
    chosen = [name for name in FOLDERS if name != "given"] if what == "all" else [what]
    return {name: sum(_cleared(folder) for folder in folders_of(name)) for name in chosen}


def _cleared(folder: Path) -> int:
    """Remove what transferkit put into one folder of the cache; the bytes freed."""
    if folder == inventory.store_folder():
        return inventory.clear_store(folder)
    return cached_files.clear_folder(folder, folder_cache.older_files(folder))


def left_files() -> Iterator[str]:
    """A line per folder of the cache that holds files which transferkit did not put there."""
    for folder in (folder for name in FOLDERS for folder in folders_of(name)):
        if folder.is_dir() and (count := cached_files.left(folder)):
            is_listed = f"file in {folder} is not listed as transferkit's and stays"
            are_listed = f"files in {folder} are not listed as transferkit's and stay"
            yield f"{counted(count, is_listed, are_listed)}; remove {'it' if count == 1 else 'them'} yourself."


def folders_of(name: str) -> list[Path]:
    """Where a cache lies."""
    return [cache_folder() / folder for folder in FOLDERS[name]]


def foreign_folders() -> dict[str, Path]:
    """Caches of torch and of the Hugging Face hub, known without importing either (their documented variables)."""
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    torch_home = Path(os.environ.get("TORCH_HOME") or user / "torch")
    hub = Path(os.environ.get("HF_HOME") or user / "huggingface")
    return {"torch": torch_home / "hub" / "checkpoints", "timm": hub / "hub"}


def folder_bytes(path: Path) -> int:
    """Bytes of a file, or of everything in a folder; a link counts nothing."""
    files = [path] if path.is_file() else path.rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file() and not file.is_symlink())


def megabytes(count: int) -> str:
    """Right-aligned, in MB."""
    return f"{count / 1e6:10,.1f} MB"
