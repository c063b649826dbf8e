"""What transferkit keeps on disk besides runs: features, decoded images, downloads; how much it is, and its removal."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from transferkit.errors import TransferkitError, did_you_mean
from transferkit.features import store as feature_store
from transferkit.features.store import BUDGET_VARIABLE, budget_bytes
from transferkit.runtime import cache_folder

FOLDERS = {"features": ("features",), "images": ("images",), "downloads": ("downloads", "weights")}


def sizes() -> Iterator[str]:
    """A line per cache, the foreign ones that weights are also read from included."""
    for name in FOLDERS:
        folders = " and ".join(str(folder) for folder in folders_of(name))
        limit = f", of {budget_bytes() / 1e9:,.1f} GB ({BUDGET_VARIABLE})" if name == "features" else ""
        yield f"{name:10} {megabytes(sum(folder_bytes(folder) for folder in folders_of(name)))}{limit}  {folders}"
    for name, folder in foreign_folders().items():
        yield f"{name:10} {megabytes(folder_bytes(folder))}, shared with other programs  {folder}"


def listing() -> Iterator[str]:
    """A line per stored thing: features by layer and network, then files."""
    for entry in reversed(feature_store.entries()):
        key = entry.key
        words = f"{entry.rows:,} x {entry.width:,}, layer {key['layer']}, {key['preparation']['size']} px"
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.last_used))
        source = f"weights {key['weights'][:8]}, {key['precision']}"
        yield f"{'features':10} {megabytes(entry.bytes)}  {words}, {source}, used {used}"
    for name in ("images", "downloads"):
        for folder in folders_of(name):
            for path in sorted(folder.iterdir()) if folder.is_dir() else ():
                yield f"{name:10} {megabytes(folder_bytes(path))}  {path}"


def clear(what: str) -> dict[str, int]:
    """Remove one cache or `all`; the bytes freed by each.

    Raises:
        TransferkitError: If there is no such cache.
    """
    if what != "all" and what not in FOLDERS:
        raise TransferkitError(f"Unknown cache {what!r}. {did_you_mean(what, [*FOLDERS, 'all'])}")
    chosen = FOLDERS if what == "all" else (what,)
    return {name: sum(feature_store.clear(folder) for folder in folders_of(name)) for name in chosen}


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
