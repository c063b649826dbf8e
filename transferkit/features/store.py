"""Features kept on disk under what decides them, so that an image passes through a network only once.

A feature vector is addressed by two hashes: the `Key` (weights, preparation, layer, pooling, precision, versions) and
the digest of one image's pixels. A set of images is therefore served image by image: subsets, other splits of the same
data and enlarged sets find what is there, and only new images are computed. Neither labels nor ids nor order enter.

Layout: `<cache>/features/FORMAT` and `<cache>/features/<key>/<segment>/` with `features.npy` (N, D), `digests.npy`
(N, 16) and `index.json` (key, checksum per chunk). A segment is what was computed at one time; it is written beside its
place and moved there in one step, and never changed afterwards.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from transferkit import __version__
from transferkit.errors import TransferkitError
from transferkit.images import Labels, Pixels
from transferkit.places import made
from transferkit.runtime import cache_folder, package_version

if TYPE_CHECKING:
    from torch import nn

    from transferkit.classifier import InputSpec
    from transferkit.screen import Screen

Features: TypeAlias = npt.NDArray[np.float32]

FORMAT = 1  # of the layout above and of what Key holds
CHUNK_ROWS = 4096  # rows under one checksum
DEFAULT_BUDGET = 20 * 10**9  # bytes
BUDGET_VARIABLE = "TRANSFERKIT_FEATURE_BUDGET"
UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
ABANDONED_SECONDS = 24 * 3600  # after which a half-written segment belongs to no living process
PACKAGES = ("torch", "torchvision", "timm")


@dataclass(frozen=True)
class Key:
    """All that decides the features of an image, except the image.

    Attributes:
        weights: SHA-256 over every parameter and buffer of the body, and over its architecture.
        preparation: The InputSpec, and the size of the images before it.
        layer: Name of the layer.
        pool: How a map becomes a vector.
        precision: fp32 or bf16, with the type of device, whose arithmetic differs (TF32, say).
        versions: Of the libraries that compute.
        format: Of the store.
    """

    weights: str
    preparation: dict[str, Any]
    layer: str
    pool: str
    precision: str
    versions: dict[str, str]
    format: int = FORMAT

    @cached_property
    def digest(self) -> str:
        """SHA-256 in hex."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Entry:
    """One segment of the store, for listings.

    Attributes:
        path: Its folder.
        key: What index.json says of its Key.
        about: Of which network and images it is, for people; empty in stores of earlier versions.
        rows: How many images.
        width: D, features per image.
        bytes: On disk.
        last_used: Seconds since the epoch.
    """

    path: Path
    key: dict[str, Any]
    about: dict[str, str]
    rows: int
    width: int
    bytes: int
    last_used: float


def key_of(
    weights: str, spec: InputSpec, image_px: tuple[int, int], layer: str, pool: str, precision: str, device_type: str
) -> Key:
    """The key of one layer's features, on this machine's libraries."""
    preparation = {**asdict(spec), "image_px": list(image_px)}
    return Key(weights, preparation, layer, pool, f"{precision}-{device_type}", versions())


def versions() -> dict[str, str]:
    """Of the libraries that compute features, this one included."""
    return {"transferkit": __version__, **{name: package_version(name) for name in PACKAGES}}


def weights_digest(body: nn.Module) -> str:
    """SHA-256 over the architecture as it prints itself, and over every parameter and buffer by name."""
    import torch

    printed = re.sub(r" at 0x[0-9a-f]+", "", repr(body))
    digest = hashlib.sha256(printed.encode())
    for name, value in (*body.named_parameters(), *body.named_buffers()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


# ------------------------------------------------------------------------------------------------ the whole store


def store_folder() -> Path:
    """Where the store lies."""
    return cache_folder() / "features"


def budget_bytes() -> int:
    """How large the store may grow: $TRANSFERKIT_FEATURE_BUDGET, such as `5GB`, else 20 GB.

    Raises:
        TransferkitError: If the variable holds no size.
    """
    text = os.environ.get(BUDGET_VARIABLE)
    if not text:
        return DEFAULT_BUDGET
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?B)?\s*", text, flags=re.IGNORECASE)
    if not found:
        raise TransferkitError(f"{BUDGET_VARIABLE}={text!r} is no size. Expected such as 500MB, 20GB or 0.")
    return int(float(found[1]) * UNITS[(found[2] or "").upper()])


def entries(folder: Path | None = None) -> list[Entry]:
    """Every segment of the store, the one used longest ago first."""
    found = [entry for place in _segment_folders(folder or store_folder()) if (entry := _entry(place)) is not None]
    return sorted(found, key=lambda entry: entry.last_used)


def total_bytes(folder: Path | None = None) -> int:
    """Bytes of the whole store on disk, unfinished segments included."""
    return sum(_bytes(path) for path in (folder or store_folder()).rglob("*"))


def clear(folder: Path | None = None) -> int:
    """Remove the store; what is being read stays readable until it is closed.

    Returns:
        Bytes freed.
    """
    folder = folder or store_folder()
    freed = total_bytes(folder)
    _remove(folder)
    return freed


def _segment_folders(folder: Path) -> Iterator[Path]:
    yield from (index.parent for index in folder.glob("[0-9a-f]*/[0-9a-f]*/index.json"))


def _entry(path: Path) -> Entry | None:
    """None where the segment is damaged or was removed meanwhile."""
    try:
        index = json.loads((path / "index.json").read_text(encoding="utf-8"))
        size = sum(_bytes(file) for file in path.iterdir())
        used = (path / "index.json").stat().st_mtime
        return Entry(path, index["key"], index.get("about", {}), index["rows"], index["width"], size, used)
    except (OSError, ValueError, KeyError):
        return None


def _bytes(path: Path) -> int:
    with contextlib.suppress(OSError):
        return path.stat().st_size if path.is_file() else 0
    return 0


def _remove(folder: Path) -> None:
    """Take a folder out of sight in one step, then delete it; another process may be quicker."""
    doomed = folder.with_name(f".removed-{folder.name}-{os.getpid()}-{time.monotonic_ns()}")
    try:
        os.rename(folder, doomed)
    except OSError:
        return
    shutil.rmtree(doomed, ignore_errors=True)


# -------------------------------------------------------------------------------------------------- one segment


@dataclass(frozen=True)
class Segment:
    """Rows that were computed at one time: features (N, D) memory-mapped, digests (N, 16)."""

    path: Path
    features: Features
    digests: Pixels
    checksums: tuple[str, ...]
    about: Mapping[str, str] = field(default_factory=dict)

    def damaged(self, rows: Labels) -> list[int]:
        """The chunks, of those that hold `rows`, whose checksum does not fit."""
        chunks = np.unique(rows // CHUNK_ROWS)
        return [int(chunk) for chunk in chunks if _checksum(self.chunk(int(chunk))) != self.checksums[chunk]]

    def chunk(self, number: int) -> Features:
        """The rows under one checksum."""
        return self.features[number * CHUNK_ROWS : (number + 1) * CHUNK_ROWS]

    def touch(self) -> None:
        """Count as used now."""
        with contextlib.suppress(OSError):
            os.utime(self.path / "index.json")


def _checksum(array: npt.NDArray[Any]) -> str:
    return hashlib.blake2b(np.ascontiguousarray(array).data, digest_size=16).hexdigest()


def _read_segment(path: Path) -> Segment:
    """A segment, its features unchecked.

    Raises:
        OSError, ValueError, KeyError: If it is damaged or was removed meanwhile.
    """
    index = json.loads((path / "index.json").read_text(encoding="utf-8"))
    # Copy-on-write: a caller may change the rows it got, the file never changes.
    features = np.load(path / "features.npy", mmap_mode="c", allow_pickle=False)
    digests = np.load(path / "digests.npy", allow_pickle=False)
    shape = (index["rows"], index["width"])
    if features.shape != shape or len(digests) != shape[0] or _checksum(digests) != index["digests"]:
        raise ValueError("shapes and checksums do not fit")
    return Segment(path, features, digests, tuple(index["checksums"]), index.get("about", {}))


def _write_segment(folder: Path, key: Key, about: Mapping[str, str], digests: Pixels, features: Features) -> None:
    folder.mkdir(parents=True)
    np.save(folder / "features.npy", features, allow_pickle=False)
    np.save(folder / "digests.npy", digests, allow_pickle=False)
    chunks = range(0, len(features), CHUNK_ROWS)
    index = {
        "key": asdict(key),
        "about": dict(about),
        "rows": len(features),
        "width": features.shape[1],
        "digests": _checksum(digests),
        "checksums": [_checksum(features[start : start + CHUNK_ROWS]) for start in chunks],
    }
    (folder / "index.json").write_text(json.dumps(index, indent=1), encoding="utf-8")


# ------------------------------------------------------------------------------------------------------ the store


@dataclass(frozen=True)
class FeatureStore:
    """Stored features in a folder of at most `budget` bytes; what was used longest ago makes room.

    `about` says of which network and images new rows are, for listings.
    """

    folder: Path
    budget: int
    screen: Screen
    about: Mapping[str, str] = field(default_factory=dict)

    def served(self, key: Key, digests: Pixels, compute: Callable[[Labels], Features]) -> Features:
        """Features (N, D) of the images with these digests: stored rows, and computed ones where none are stored.

        Args:
            key: What decides the features.
            digests: (N, 16), one per image.
            compute: Given the positions (M,) of images that are missing, each image once, their features (M, D).

        Returns:
            (N, D) float32; memory-mapped (copy-on-write) where one segment holds exactly these images in this order.
        """
        segments = self._sound_segments(key, digests)
        found = _located(segments, digests)
        if (whole := found.whole_segment(segments)) is not None:
            whole.touch()
            return np.asarray(whole.features)
        missing = first_of_each(digests, np.flatnonzero(found.segment < 0))
        if len(missing) == 0:
            return found.gathered(segments)
        computed = np.ascontiguousarray(compute(missing), dtype=np.float32)
        self.add(key, digests[missing], computed)
        if len(missing) == len(digests):
            return computed
        fresh = Segment(self.folder, computed, digests[missing], ())
        return _located([*segments, fresh], digests).gathered([*segments, fresh])

    def add(self, key: Key, digests: Pixels, features: Features) -> None:
        """Keep rows; where that cannot be, say so and go on."""
        size = features.nbytes + digests.nbytes
        if size > self.budget:
            self.screen.line(
                f"Features of {size / 1e6:,.0f} MB are not stored: the store may hold {self.budget / 1e6:,.0f} MB "
                f"({BUDGET_VARIABLE})."
            )
            return
        try:
            self._make_room(size)
            self._put(key, digests, features)
        except OSError as error:
            reason = "the disk is full" if error.errno == errno.ENOSPC else error.strerror or str(error)
            self.screen.line(f"Features are not stored in {self.folder}: {reason}.")

    def _put(self, key: Key, digests: Pixels, features: Features) -> None:
        place = self.folder / key.digest / hashlib.sha256(digests.tobytes()).hexdigest()[:32]
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=self.folder, prefix=".partial-"))
        try:
            _write_segment(temporary / "segment", key, self.about, digests, features)
            os.rename(temporary / "segment", place)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):  # else another process wrote the same rows first
                raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _make_room(self, size: int) -> None:
        """Remove the segments used longest ago until `size` bytes more fit the budget."""
        self._remove_abandoned()
        oldest_first = entries(self.folder)
        surplus = sum(entry.bytes for entry in oldest_first) + size - self.budget
        for entry in oldest_first:
            if surplus <= 0:
                return
            _remove(entry.path)
            surplus -= entry.bytes
            self.screen.line(
                f"Feature store full: removed {entry.rows:,} rows of layer {entry.key['layer']} "
                f"({entry.bytes / 1e6:,.1f} MB), used longest ago."
            )

    def _remove_abandoned(self) -> None:
        for path in (*self.folder.glob(".partial-*"), *self.folder.glob("*/.removed-*")):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > ABANDONED_SECONDS:
                    shutil.rmtree(path, ignore_errors=True)

    def _sound_segments(self, key: Key, digests: Pixels) -> list[Segment]:
        """The segments of a key, those rows checked that will be read; damaged ones are cut down to what is sound."""
        segments = list(self._segments(key))
        found = _located(segments, digests)
        sound = []
        for number, segment in enumerate(segments):
            damaged = segment.damaged(found.row[found.segment == number])
            if not damaged:
                sound.append(segment)
            elif (rest := self._salvaged(key, segment, damaged)) is not None:
                sound.append(rest)
        return sound

    def _segments(self, key: Key) -> Iterator[Segment]:
        for path in sorted((self.folder / key.digest).glob("[0-9a-f]*")):
            try:
                yield _read_segment(path)
            except (OSError, ValueError, KeyError) as error:
                if path.exists():
                    self.screen.line(f"Stored features in {path} are damaged ({error}) and are computed again.")
                    _remove(path)

    def _salvaged(self, key: Key, segment: Segment, damaged: Iterable[int]) -> Segment | None:
        """What is left of a segment without its damaged chunks, stored in its place; None where nothing is."""
        bad = sorted(damaged)
        for number in range(len(segment.checksums)):
            if number not in bad and _checksum(segment.chunk(number)) != segment.checksums[number]:
                bad.append(number)
        is_sound = ~np.isin(np.arange(len(segment.features)) // CHUNK_ROWS, bad)
        self.screen.line(
            f"Stored features in {segment.path} are damaged (checksum of chunk {', '.join(map(str, sorted(bad)))} of "
            f"{len(segment.checksums)}): {int((~is_sound).sum()):,} images are computed again."
        )
        rest = Segment(segment.path, np.array(segment.features[is_sound]), segment.digests[is_sound], ())
        _remove(segment.path)
        if not is_sound.any():
            return None
        replace(self, about=segment.about).add(key, rest.digests, rest.features)
        return rest


def open_store(screen: Screen, about: Mapping[str, str] | None = None) -> FeatureStore | None:
    """The store of this machine; None where a newer transferkit wrote it. One of an older format is cleared.

    `about` says of which network and images new rows are, for listings.

    Raises:
        TransferkitError: If the budget in the environment is no size.
    """
    folder, budget = store_folder(), budget_bytes()
    written = _written_format(folder)
    if written is not None and written > FORMAT:
        screen.line(
            f"The feature store {folder} was written by a newer transferkit (format {written}, this one reads "
            f"{FORMAT}); it is not used. Upgrade, or clear it with: transferkit cache clear features"
        )
        return None
    if written is not None and written < FORMAT:
        freed = clear(folder)
        screen.line(f"The feature store {folder} was of the older format {written}: cleared, {freed / 1e6:,.1f} MB.")
    if written != FORMAT:
        made(folder)
        (folder / "FORMAT").write_text(f"{FORMAT}\n", encoding="utf-8")
    return FeatureStore(folder, budget, screen, about or {})


def _written_format(folder: Path) -> int | None:
    """The format that a store says it has; 0 where it holds something and says nothing, None where it is empty."""
    try:
        return int((folder / "FORMAT").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return 0 if folder.is_dir() and any(folder.iterdir()) else None
    except (OSError, ValueError):
        return 0


# -------------------------------------------------------------------------------------------------- which row where


@dataclass(frozen=True)
class Located:
    """Where images lie: (N,) number of the segment, -1 where in none, and (N,) row in it."""

    segment: Labels
    row: Labels

    def whole_segment(self, segments: list[Segment]) -> Segment | None:
        """The one segment that holds exactly these images in this order, if there is one."""
        if not len(self.segment) or self.segment[0] < 0 or (self.segment != self.segment[0]).any():
            return None
        segment = segments[int(self.segment[0])]
        return segment if np.array_equal(self.row, np.arange(len(segment.features))) else None

    def gathered(self, segments: list[Segment]) -> Features:
        """(N, D), all images being somewhere."""
        gathered = np.empty((len(self.row), segments[int(self.segment[0])].features.shape[1]), np.float32)
        for number in np.unique(self.segment):
            chosen = self.segment == number
            gathered[chosen] = segments[number].features[self.row[chosen]]
            segments[number].touch()
        return gathered


def _located(segments: list[Segment], digests: Pixels) -> Located:
    nowhere = np.full(len(digests), -1, np.int64)
    if not segments or not len(digests):
        return Located(nowhere, nowhere)
    stored = as_sortable(np.concatenate([segment.digests for segment in segments]))
    lengths = [len(segment.digests) for segment in segments]
    segment_of = np.repeat(np.arange(len(segments)), lengths)
    row_of = np.concatenate([np.arange(length) for length in lengths])
    order = np.argsort(stored, kind="stable")
    wanted = as_sortable(digests)
    position = order[np.minimum(np.searchsorted(stored[order], wanted), len(stored) - 1)]
    is_there = stored[position] == wanted
    return Located(np.where(is_there, segment_of[position], -1), np.where(is_there, row_of[position], -1))


def first_of_each(digests: Pixels, positions: Labels) -> Labels:
    """Those positions at which a digest occurs for the first time, in order; the same picture is computed once."""
    _, first = np.unique(as_sortable(digests[positions]), return_index=True)
    return positions[np.sort(first)]


def as_sortable(digests: Pixels) -> npt.NDArray[np.bytes_]:
    """(N,) byte strings from (N, 16) digests; NumPy sorts these, and cuts zeros at the end of all of them alike."""
    return np.ascontiguousarray(digests).reshape(-1).view("S16")  # (N, 16) -> (N,)
