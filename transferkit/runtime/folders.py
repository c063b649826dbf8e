"""Folders that transferkit owns: each has a manifest of what was written there, and one process works in it at a time.

The manifest, `.transferkit.jsonl`, begins with a line of facts (format, version, kind of folder) and goes on with one
line per file, as a relative path, written before the file itself. Only what it lists is ever replaced or removed.
"""

from __future__ import annotations

import glob
import json
import os
import re
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from transferkit import __version__
from transferkit.runtime.errors import MachineError, TransferkitError
from transferkit.runtime.full_disk import full_disk, says_full
from transferkit.runtime.locks import HOLDER, LOCK, lock_folder
from transferkit.runtime.plurals import with_article

FORMAT = 1  # of the manifest; readers refuse a newer one
MANIFEST = ".transferkit.jsonl"
OUT_ADVICE = "Choose another folder with --out."
LEFT_BY_SYSTEMS = (".DS_Store", "Thumbs.db", "desktop.ini")  # made by whoever looks into a folder
PARTIAL = re.compile(r"\.(?P<name>.+)\.[a-z0-9_]{8}\.partial")  # what a killed `checkpoint.write_atomically` leaves


@dataclass
class _Held:
    """A folder in which this process works.

    Attributes:
        folder: Its real path.
        kind: Such as `run` or `study`.
        files: What the manifest lists, in the order of writing.
        thread: That works in it.
        has_manifest: Whether the manifest is on disk; it is written with the first file.
    """

    folder: Path
    kind: str
    files: dict[str, None]
    thread: int = field(default_factory=threading.get_ident)
    has_manifest: bool = True

    def list_files(self, names: Iterable[str]) -> None:
        """Append to the manifest, which is made where it is missing."""
        new = list(dict.fromkeys(name for name in names if name not in self.files))
        if not self.has_manifest:
            _write_manifest(self.folder, self.kind, (*self.files, *new))
        elif new:
            _append(self.folder / MANIFEST, new)
        self.has_manifest = True
        self.files |= dict.fromkeys(new)


_held: dict[Path, _Held] = {}


# ------------------------------------------------------------------------------------------------- who owns what


def kind_of(folder: Path) -> str | None:
    """What transferkit made the folder for; None where it has no manifest.

    Raises:
        TransferkitError: If a newer version wrote the manifest.
    """
    facts, _ = _read_manifest(folder)
    return str(facts["kind"]) if facts else None


def files_of(folder: Path) -> tuple[str, ...]:
    """What the manifest of a folder lists, as relative paths in the order of writing."""
    return tuple(_read_manifest(folder)[1])


def is_vacant(folder: Path) -> bool:
    """Whether a folder is missing or holds nothing but what a killed command or a file browser left there."""
    return not folder.is_dir() or all(_is_left_over(entry) for entry in folder.iterdir())


def _is_left_over(entry: Path) -> bool:
    if entry.is_dir() and not entry.is_symlink():
        return is_vacant(entry)
    own = (MANIFEST, f"{MANIFEST}.new", LOCK, HOLDER)
    return entry.name in (*own, *LEFT_BY_SYSTEMS) or PARTIAL.fullmatch(entry.name) is not None


def require_writable(folder: Path) -> None:
    """Refuse a place where nothing can be made, before any work.

    It is tried, as permissions do not tell: root may write everywhere, but not to /proc or a read-only disk.

    Raises:
        TransferkitError: Names the place.
        FullDisk: If there is no room.
    """
    nearest = next((place for place in (folder, *folder.parents) if place.exists()), Path())
    if not nearest.is_dir():
        raise TransferkitError(f"{nearest} is a file. Choose a folder with --out.")
    try:
        Path(tempfile.mkdtemp(prefix=".transferkit-", dir=nearest)).rmdir()
    except OSError as error:
        if says_full(error):
            raise full_disk(nearest, error) from error
        raise TransferkitError(f"You may not write to {nearest}. {OUT_ADVICE}") from error


def require_kind(folder: Path, kind: str, *, is_older: bool = False) -> None:
    """Refuse a folder in which something else lies; nothing is changed.

    Args:
        folder: Where files of this kind shall be.
        kind: Such as `run` or `study`.
        is_older: Whether the folder is one of this kind from a version that wrote no manifest.

    Raises:
        TransferkitError: Says what lies there.
    """
    require_writable(folder)
    present = kind_of(folder)
    if present not in (None, kind):
        raise TransferkitError(f"{folder} holds {with_article(present)} and is no {kind}. {OUT_ADVICE}")
    if present is None and not is_older and not is_vacant(folder):
        raise TransferkitError(f"{folder} holds other files and is no {kind}. {OUT_ADVICE}")


# ---------------------------------------------------------------------------------------------- working in a folder


@contextmanager
def hold(folder: Path, kind: str, older_files: Iterable[str] = ()) -> Iterator[None]:
    """Inside, this process alone works in the folder, and every file that it writes there is listed.

    Left-overs of killed commands are removed. A folder that transferkit made, and in which it has nothing, is gone
    afterwards, with the folders around it that were made for it.

    Args:
        folder: Made where it is missing.
        kind: Of the manifest where there is none.
        older_files: Which files in it are of transferkit, where a version without manifests wrote them.

    Raises:
        TransferkitError: If another process works in it; says which.
        MachineError: If it cannot be made or written to.
    """
    place = Path(os.path.realpath(folder))
    if _is_held_here(place):
        yield
        return
    root = next(parent for parent in place.parents if parent.exists())
    is_new = not place.exists() or (place / LOCK).exists()
    ensure_folder(place, OUT_ADVICE)
    with lock_folder(place, folder):
        try:
            with _working_in(place, kind, older_files):
                yield
        finally:  # while it is locked: whoever was refused must not touch it
            if is_new and forget(place):
                remove_file(place, root)


def require_idle(folder: Path) -> None:
    """Refuse a folder in which another process works; nothing is left in it.

    Raises:
        TransferkitError: Says which process.
    """
    place = Path(os.path.realpath(folder))
    if not _is_held_here(place) and (place / LOCK).exists():
        with lock_folder(place, folder):
            pass


def _is_held_here(place: Path) -> bool:
    """Whether this very thread works in a folder, given by its real path."""
    return place in _held and _held[place].thread == threading.get_ident()


@contextmanager
def _working_in(place: Path, kind: str, older_files: Iterable[str]) -> Iterator[None]:
    facts, files = _read_manifest(place)
    own = _Held(place, kind, files if facts else dict.fromkeys(older_files), has_manifest=facts is not None)
    _held[place] = own
    try:
        _remove_left_overs(own)
        yield
    finally:
        del _held[place]


def record(path: Path) -> None:
    """List a file that is about to be written, where this process works in its folder; elsewhere nothing happens.

    Raises:
        TransferkitError: If a file lies there that transferkit did not write.
    """
    if (own := _owner(path)) is None or (name := _name_in(own, path)) in own.files:
        return
    if os.path.lexists(path) and not (path.is_dir() and is_vacant(path)):
        raise TransferkitError(
            f"{path} was not written by transferkit and would be lost. Move it elsewhere and run the command again."
        )
    own.list_files([name])


def record_written(paths: Iterable[Path]) -> None:
    """List files that a library has just written under names of its own choice."""
    for path in paths:
        if (own := _owner(path)) is not None:
            own.list_files([_name_in(own, path)])


def remove(folder: Path, names: Iterable[str] | None = None) -> None:
    """Remove listed files of a folder in which this process works, what was written last first; by default all.

    What the manifest does not list stays, and so do folders that hold such.
    """
    own = _held[Path(os.path.realpath(folder))]
    own.list_files(())
    doomed = set(own.files if names is None else names)
    for name in reversed([name for name in own.files if name in doomed]):
        remove_file(own.folder / name, own.folder)
    own.files = {name: None for name in own.files if name not in doomed}
    _write_manifest(own.folder, own.kind, own.files)


def discard_file(path: Path) -> None:
    """Remove a file that is there or not; where this process works in its folder, from the list, too."""
    path.unlink(missing_ok=True)
    if (own := _owner(path)) is not None and (name := _name_in(own, path)) in own.files:
        remove(own.folder, [name])


def remove_partial_files(path: Path) -> None:
    """Remove what killed processes left of a file outside of held folders; none may be at work on it."""
    for left in path.parent.glob(f"{glob.escape(f'.{path.name}.')}*.partial"):
        if (match := PARTIAL.fullmatch(left.name)) and match["name"] == path.name:
            left.unlink(missing_ok=True)


def discard(folder: Path, kind: str) -> None:
    """Remove a folder of finished parts that nobody needs any more; what is not of transferkit stays.

    Raises:
        TransferkitError: If another process works in it.
    """
    with hold(folder, kind):
        remove(folder)


def forget(folder: Path) -> bool:
    """Remove the manifest of a folder of which nothing is left, and the folder; one that holds something stays.

    Returns:
        Whether the folder is gone.
    """
    if files_of(folder) or any(not _is_left_over(entry) for entry in folder.iterdir()):
        return False
    for name in (MANIFEST, LOCK, HOLDER):
        (folder / name).unlink(missing_ok=True)
    with suppress(OSError):  # a file browser's mark is left in it
        folder.rmdir()
    return not folder.exists()


def remove_file(path: Path, root: Path) -> None:
    """Remove a file, and the folders up to `root` that are empty then."""
    with suppress(FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError):
        path.unlink()
    with suppress(OSError):  # a folder that still holds something
        for parent in path.parents:
            if parent == root:
                break
            parent.rmdir()


def add_to_manifest(folder: Path, kind: str, names: Iterable[str]) -> None:
    """List files of a folder that several processes fill; they must take turns."""
    if _read_manifest(folder)[0] is None:
        _write_manifest(folder, kind, names)
    else:
        _append(folder / MANIFEST, names)


def _owner(path: Path) -> _Held | None:
    """The innermost folder around a path in which this process works."""
    parent = Path(os.path.realpath(path.parent))
    return next((_held[place] for place in (parent, *parent.parents) if place in _held), None)


def _name_in(own: _Held, path: Path) -> str:
    return (Path(os.path.realpath(path.parent)) / path.name).relative_to(own.folder).as_posix()


def _remove_left_overs(own: _Held) -> None:
    """Partial files of listed ones: whoever wrote them is dead, since this process holds the folder."""
    for path in own.folder.rglob("*.partial"):
        match = PARTIAL.fullmatch(path.name)
        if match and path.is_file() and _name_in(own, path.with_name(match["name"])) in own.files:
            path.unlink(missing_ok=True)


# ----------------------------------------------------------------------------------------------------- the manifest


def _read_manifest(folder: Path) -> tuple[dict[str, object] | None, dict[str, None]]:
    """The facts and the listed files; a line that a kill cut off is as good as not written."""
    try:
        lines = [_parsed(line) for line in (folder / MANIFEST).read_text(encoding="utf-8").splitlines()]
    except (FileNotFoundError, NotADirectoryError):
        return None, {}
    except OSError as error:
        raise MachineError(f"Cannot read {folder / MANIFEST}: {error.strerror or error}.") from error
    facts = lines[0] if lines else None
    if not isinstance(facts, dict) or not isinstance(facts.get("kind"), str):
        return None, {}
    if not isinstance(facts.get("format"), int) or facts["format"] > FORMAT:
        raise TransferkitError(f"A newer transferkit wrote {folder}. Upgrade with: pip install --upgrade transferkit")
    return facts, {line: None for line in lines[1:] if isinstance(line, str) and _is_inside(line)}


def _parsed(line: str) -> object:
    try:
        parsed: object = json.loads(line)
    except ValueError:
        return None
    return parsed


def _is_inside(name: str) -> bool:
    """Whether a listed path stays in its folder, whatever hand wrote it."""
    return not Path(name).is_absolute() and ".." not in Path(name).parts


def _write_manifest(folder: Path, kind: str, files: Iterable[str]) -> None:
    lines = [{"format": FORMAT, "transferkit": __version__, "kind": kind}, *files]
    temporary = folder / f"{MANIFEST}.new"
    with _machine_errors(folder):
        temporary.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        os.replace(temporary, folder / MANIFEST)


def _append(path: Path, names: Iterable[str]) -> None:
    """One writing at the end; a line that a kill cut off is ended first."""
    with _machine_errors(path.parent), path.open("r+b") as file:
        is_cut_off = file.seek(0, os.SEEK_END) > 0 and (file.seek(-1, os.SEEK_END), file.read(1))[1] != b"\n"
        file.write(b"\n" * is_cut_off + "".join(json.dumps(name) + "\n" for name in names).encode())


@contextmanager
def _machine_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise MachineError(f"Cannot write to {folder}: {error.strerror or error}. {OUT_ADVICE}") from error


CACHE_ADVICE = "Set TRANSFERKIT_CACHE to a folder that you may write to."


def ensure_folder(folder: Path, advice: str = CACHE_ADVICE) -> Path:
    """The folder, made where it was missing.

    Raises:
        MachineError: If it cannot be made; ends with `advice`.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MachineError(f"Cannot make the folder {folder}: {error.strerror or error}. {advice}") from error
    return folder
