"""Files decoded once into a folder of the cache, from which later loads map them into memory."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from filelock import FileLock
from pydantic import Field

from transferkit.data.datasets.content_check import ContentCheck, check_of, is_sound, stamp
from transferkit.data.datasets.folder_workers import Decoding, decode_into
from transferkit.data.datasets.layout import File
from transferkit.data.decoding import decode_many, short_side
from transferkit.data.image_files import Source
from transferkit.data.images import Pixels, image_digest
from transferkit.data.reading import Reading, as_reading
from transferkit.data.resizing import by_pillow, worthwhile
from transferkit.runtime import cached_files, folders
from transferkit.runtime.cache_place import cache_folder
from transferkit.runtime.console import SILENT, Console
from transferkit.runtime.errors import MachineError, TransferkitError
from transferkit.runtime.folders import ensure_folder
from transferkit.runtime.locks import LOCK
from transferkit.runtime.plurals import counted
from transferkit.runtime.processor import usable_cores
from transferkit.runtime.records import read_record, write_record

FORMAT = 2  # counts up whenever the same files would be decoded to other pixels
DIGEST_BYTES = 16  # twice: of the pixels, and of the file
PIXELS, DIGESTS, FACTS = FILES = ("pixels.u8", "digests.u8", "facts.json")
CHECKED_BYTES_PER_FILE = 2048  # at each load: at most a twentieth of its time; benchmarks/decoded_cache_check.py
SMALLEST_PX, LARGEST_PX, SAMPLED_FILES = 8, 256, 1000
ABANDONED_SECONDS = 24 * 3600.0

Storage = int | Literal["auto"]


@dataclass(frozen=True)
class DecodedFacts:
    """What facts.json tells of the decoded files beside it.

    Attributes:
        size_px: Side of the images.
        unreadable: Row and reason of each file that could not be read.
        root: The data set's folder, as `ascii` writes it.
        fit: How images are made square.
        checks: Of the pixels and the digests, by file; None from a version that wrote none.
        channels: Bands of an image.
        digest_bytes: Of each image; a version before kept no digest of the file.
    """

    size_px: Annotated[int, Field(gt=0)]
    unreadable: tuple[tuple[int, str], ...]
    root: str = "''"
    fit: str = ""
    checks: dict[str, ContentCheck] | None = None
    channels: Annotated[int, Field(gt=0)] = 3
    digest_bytes: Annotated[int, Field(gt=0)] = DIGEST_BYTES


@dataclass(frozen=True)
class Decoded:
    """All files of a data set at one size.

    Attributes:
        pixels: (M, C, S, S) uint8, memory-mapped, one row per file.
        digests: (M, 16) uint8, the digest of each row.
        contents: (M, 16) uint8, the digest of each file and of how it was read.
        unreadable: The reason for each row that could not be read; its pixels are black and of no use.
    """

    pixels: Pixels
    digests: Pixels
    contents: Pixels
    unreadable: dict[int, str]


def decoded(root: Path, files: Sequence[File], storage: Storage, fit: str | Reading, console: Console) -> Decoded:
    """The pixels of the files, from the cache where they are unchanged since they were last decoded.

    Raises:
        MachineError: If the disk has too little space.
    """
    place = cache_folder() / "images" / _key(root, files, storage, fit)
    facts = _usable_facts(place, root, files, as_reading(fit), console)
    if facts is None:
        _build(place, root, files, storage, as_reading(fit), console)
        facts = _facts(place, len(files))
    if facts is None:
        raise MachineError(f"The decoded images in {place} are incomplete. Delete that folder and run again.")
    with contextlib.suppress(OSError):
        os.utime(place / FACTS)  # used now
    shape = (len(files), facts.channels, facts.size_px, facts.size_px)
    pixels: Pixels = np.memmap(place / PIXELS, dtype=np.uint8, mode="r", shape=shape)
    digests, contents = np.split(_digests(place, facts), [DIGEST_BYTES], axis=1)
    return Decoded(pixels, digests, contents, dict(facts.unreadable))


def automatic_size(sources: Sequence[Source], max_megapixels: float | None = None) -> int:
    """The median short side of up to 1,000 evenly spaced files or images, at least 8 and at most 256 px."""
    chosen = np.unique(np.linspace(0, len(sources) - 1, min(len(sources), SAMPLED_FILES)).astype(int))
    sides = [side for side in (short_side(sources[index], max_megapixels) for index in chosen) if side is not None]
    return int(np.clip(np.median(sides), SMALLEST_PX, LARGEST_PX)) if sides else SMALLEST_PX


def _key(root: Path, files: Iterable[File], storage: Storage, fit: str | Reading) -> str:
    """Names the content: any file added, removed, renamed or changed gives another key.

    The root enters too: files of one size and one time, as in unpacked archives of uncompressed images, would else
    pass for those of another folder.
    """
    digest = hashlib.sha256(repr((FORMAT, str(root.resolve()), storage, str(fit))).encode("utf-8", "surrogateescape"))
    for file in files:
        line = f"{file.path}\0{file.size}\0{file.mtime_ns}\n"
        digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:32]


def _facts(place: Path, count: int) -> DecodedFacts | None:
    """What was written beside the pixels; None unless everything is there in full length."""
    try:
        facts = read_record(place / FACTS, DecodedFacts)
        is_complete = (place / PIXELS).stat().st_size == count * facts.channels * facts.size_px**2 and (
            place / DIGESTS
        ).stat().st_size == count * facts.digest_bytes
    except (OSError, TransferkitError):
        return None
    return facts if is_complete else None


def _usable_facts(
    place: Path, root: Path, files: Sequence[File], reading: Reading, console: Console
) -> DecodedFacts | None:
    """What was written beside the pixels; None where the files have to be decoded (again)."""
    facts = _sound_facts(place, len(files), console)
    return None if facts is None or _is_mended(root, files, facts, reading) else facts


def _digests(place: Path, facts: DecodedFacts) -> Pixels:
    return np.fromfile(place / DIGESTS, dtype=np.uint8).reshape(-1, facts.digest_bytes)


def _sound_facts(place: Path, count: int, console: Console) -> DecodedFacts | None:
    """What was written beside the pixels; None where pixels or digests are not what they were."""
    facts = _facts(place, count)
    if facts is None:
        return None
    if facts.checks is None:  # of a version that wrote none
        return _checked_once(place, facts, count, console)
    generator = np.random.default_rng()
    for name, check in facts.checks.items():
        if not is_sound(place / name, check, CHECKED_BYTES_PER_FILE * count, generator):
            console.line(f"The decoded images in {place} are damaged ({name}): decoding them again.")
            return None
    is_touched = any(stamp(place / name) != check.stamp for name, check in facts.checks.items())
    return _write_facts(place, facts) if is_touched else facts


def _checked_once(place: Path, facts: DecodedFacts, count: int, console: Console) -> DecodedFacts | None:
    """Every pixel against the digests; then sums are kept, so that the next load is quick."""
    shape = (count, facts.channels, facts.size_px, facts.size_px)
    pixels: Pixels = np.memmap(place / PIXELS, dtype=np.uint8, mode="r", shape=shape)
    digests = _digests(place, facts)[:, :DIGEST_BYTES]
    unreadable = {row for row, _ in facts.unreadable}
    readable = [row for row in range(count) if row not in unreadable]
    if any(image_digest(pixels[row]) != digests[row].tobytes() for row in readable):
        console.line(f"The decoded images in {place} are damaged: decoding them again.")
        return None
    return _write_facts(place, facts)


def _write_facts(place: Path, facts: DecodedFacts) -> DecodedFacts:
    """Add what the content is checked by, and write facts.json."""
    checked = replace(facts, checks={name: check_of(place / name) for name in FILES[:2]})
    write_record(place / FACTS, checked)
    return checked


def _remove(place: Path) -> None:
    """Remove what was decoded, and nothing else; the facts first, without which the rest is nothing."""
    for name in reversed(FILES):
        if cached_files.is_listed(place / name) or place / name in older_files(place.parent):
            folders.remove_file(place / name, place.parent)


def older_files(folder: Path) -> list[Path]:
    """What a version without manifests decoded into a folder: known by facts that fit the files."""
    older: list[Path] = []
    for facts in folder.glob(f"*/{FACTS}"):
        place = facts.parent
        with contextlib.suppress(OSError, TransferkitError):
            width = read_record(facts, DecodedFacts).digest_bytes
            if _facts(place, (place / DIGESTS).stat().st_size // width) is not None:
                older += [place / name for name in FILES]
    return older


def _is_mended(root: Path, files: Sequence[File], facts: DecodedFacts, reading: Reading) -> bool:
    """Whether a file that could not be read can be read now, as after a change of its permissions alone."""
    paths = [str(root / files[row].path) for row, _ in facts.unreadable]
    return bool(paths) and len(decode_many(paths, SMALLEST_PX, reading, by_pillow).failures) < len(paths)


def _build(
    place: Path, root: Path, files: Sequence[File], storage: Storage, reading: Reading, console: Console
) -> None:
    """Decode in a folder beside `place` and rename it; whoever comes second keeps what the first one made.

    What is there already is judged again where only one process works, so that none removes another's good pixels.
    """
    ensure_folder(place.parent)
    _remove_abandoned(place)
    paths = [str(root / file.path) for file in files]
    size = automatic_size(paths, reading.max_megapixels) if storage == "auto" else storage
    _require_space(place.parent, len(files) * (reading.channels * size * size + 2 * DIGEST_BYTES), len(files), size)
    with tempfile.TemporaryDirectory(prefix=f".{place.name}-", dir=place.parent) as scratch:
        finished = Path(scratch) / "finished"
        finished.mkdir()
        resizer = worthwhile(len(paths), size, usable_cores())
        decoding = Decoding(str(finished / PIXELS), str(finished / DIGESTS), size, reading, resizer)
        for name in (decoding.pixels, decoding.digests):
            Path(name).touch()
        num_bytes = sum(file.size for file in files)
        unreadable = decode_into(decoding, paths, num_bytes, usable_cores(), console)
        source = ascii(str(root.resolve()))
        facts = DecodedFacts(
            size, tuple(sorted(unreadable)), source, str(reading), None, reading.channels, 2 * DIGEST_BYTES
        )
        _write_facts(finished, facts)
        cached_files.will_write(*(place / name for name in FILES))
        with FileLock(place.parent / LOCK):
            if _usable_facts(place, root, files, reading, SILENT) is None:
                _remove(place)
                with contextlib.suppress(OSError):  # a file of somebody else is in the way
                    os.rename(finished, place)


def _remove_abandoned(place: Path) -> None:
    """Folders that a killed process left half written."""
    for left in place.parent.glob(f".{place.name}-*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > ABANDONED_SECONDS:
                shutil.rmtree(left, ignore_errors=True)


def _require_space(folder: Path, needed: int, count: int, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise MachineError(
            f"{counted(count, 'image')} of {size} x {size} px need {needed / 1e6:,.0f} MB in {folder}, which has "
            f"{free / 1e6:,.0f} MB free. Free some space, set TRANSFERKIT_CACHE to a folder on another disk, or choose "
            f"a smaller --storage."
        )
