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
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from transferkit.data.images import Labels, Pixels
from transferkit.features.inventory import (
    BUDGET_VARIABLE,
    SEGMENT_FILES,
    budget_bytes,
    clear_store,
    entries,
    remove_entry,
    store_folder,
)
from transferkit.features.keys import FORMAT, Key
from transferkit.features.located import first_of_each, located
from transferkit.features.segments import (
    CHUNK_ROWS,
    NOTHING_SAID,
    About,
    Segment,
    checksum,
    read_segment,
    write_segment,
)
from transferkit.runtime import cached_files
from transferkit.runtime.array_types import Features
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.folders import ensure_folder
from transferkit.runtime.plurals import counted

if TYPE_CHECKING:
    from transferkit.runtime.console import Console

ABANDONED_SECONDS = 24 * 3600  # after which a half-written segment belongs to no living process


@dataclass(frozen=True)
class FeatureStore:
    """Stored features in a folder of at most `budget` bytes; what was used longest ago makes room.

    `about` says of which network and images new rows are, for listings.
    """

    folder: Path
    budget: int
    console: Console
    about: About = NOTHING_SAID

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
        places = located(segments, digests)
        if (whole := places.whole_segment(segments)) is not None:
            whole.touch()
            return np.asarray(whole.features)
        missing = first_of_each(digests, np.flatnonzero(places.segment < 0))
        if len(missing) == 0:
            return places.gathered(segments)
        computed = np.ascontiguousarray(compute(missing), dtype=np.float32)
        self.add(key, digests[missing], computed)
        if len(missing) == len(digests):
            return computed
        fresh = Segment(self.folder, computed, digests[missing], ())
        return located([*segments, fresh], digests).gathered([*segments, fresh])

    def count_missing(self, key: Key, digests: Pixels) -> int:
        """How many of the images with these digests (N, 16) are not stored."""
        return int((located(list(self._segments(key)), digests).segment < 0).sum())

    def add(self, key: Key, digests: Pixels, features: Features) -> None:
        """Keep rows; where that cannot be, say so and go on."""
        size = features.nbytes + digests.nbytes
        if size > self.budget:
            self.console.line(
                f"Features of {size / 1e6:,.0f} MB are not stored: the store may hold {self.budget / 1e6:,.0f} MB "
                f"({BUDGET_VARIABLE})."
            )
            return
        try:
            self._make_room(size)
            self._put(key, digests, features)
        except OSError as error:
            reason = "the disk is full" if error.errno == errno.ENOSPC else error.strerror or str(error)
            self.console.line(f"Features are not stored in {self.folder}: {reason}.")

    def _put(self, key: Key, digests: Pixels, features: Features) -> None:
        place = self.folder / key.digest / hashlib.sha256(digests.tobytes()).hexdigest()[:32]
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=self.folder, prefix=".partial-"))
        try:
            write_segment(temporary / "segment", key, self.about, digests, features)
            cached_files.will_write(*(place / name for name in SEGMENT_FILES))
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
            remove_entry(entry.path)
            surplus -= entry.bytes
            self.console.line(
                f"Feature store full: removed {counted(entry.rows, 'row')} of layer {entry.key.layer} "
                f"({entry.bytes / 1e6:,.1f} MB), used longest ago."
            )

    def _remove_abandoned(self) -> None:
        for path in self.folder.glob(".partial-????????"):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > ABANDONED_SECONDS:
                    shutil.rmtree(path, ignore_errors=True)

    def _sound_segments(self, key: Key, digests: Pixels) -> list[Segment]:
        """The segments of a key, those rows checked that will be read; damaged ones are cut down to what is sound."""
        segments = list(self._segments(key))
        places = located(segments, digests)
        sound = []
        for number, segment in enumerate(segments):
            damaged = segment.damaged(places.row[places.segment == number])
            if not damaged:
                sound.append(segment)
            elif (rest := self._salvaged(key, segment, damaged)) is not None:
                sound.append(rest)
        return sound

    def _segments(self, key: Key) -> Iterator[Segment]:
        for path in sorted((self.folder / key.digest).glob("[0-9a-f]*")):
            try:
                yield read_segment(path)
            except FileNotFoundError:  # removed meanwhile, or somebody else's
                continue
            except (OSError, ValueError, EOFError, TransferkitError) as error:
                if path.exists():
                    self.console.line(f"Stored features in {path} are damaged ({error}) and are computed again.")
                    remove_entry(path)

    def _salvaged(self, key: Key, segment: Segment, damaged: Iterable[int]) -> Segment | None:
        """What is left of a segment without its damaged chunks, stored in its place; None where nothing is."""
        bad = sorted(damaged)
        for number in range(len(segment.checksums)):
            if number not in bad and checksum(segment.chunk(number)) != segment.checksums[number]:
                bad.append(number)
        is_sound = ~np.isin(np.arange(len(segment.features)) // CHUNK_ROWS, bad)
        self.console.line(
            f"Stored features in {segment.path} are damaged (checksum of chunk {', '.join(map(str, sorted(bad)))} of "
            f"{len(segment.checksums)}): {int((~is_sound).sum()):,} images are computed again."
        )
        rest = Segment(segment.path, np.array(segment.features[is_sound]), segment.digests[is_sound], ())
        remove_entry(segment.path)
        if not is_sound.any():
            return None
        replace(self, about=segment.about).add(key, rest.digests, rest.features)
        return rest


def open_store(console: Console, about: About = NOTHING_SAID) -> FeatureStore | None:
    """The store of this machine; None where a newer transferkit wrote it. One of an older format is cleared.

    `about` says of which network and images new rows are, for listings.

    Raises:
        TransferkitError: If the budget in the environment is no size.
    """
    folder, budget = store_folder(), budget_bytes()
    written = _written_format(folder)
    if written is not None and written > FORMAT:
        console.line(
            f"The feature store {folder} was written by a newer transferkit (format {written}, this one reads "
            f"{FORMAT}); it is not used. Upgrade, or clear it with: transferkit cache clear features"
        )
        return None
    if written is not None and written < FORMAT:
        freed = clear_store(folder)
        console.line(f"The feature store {folder} was of the older format {written}: cleared, {freed / 1e6:,.1f} MB.")
    if written != FORMAT:
        ensure_folder(folder)
        cached_files.will_write(folder / "FORMAT")
        (folder / "FORMAT").write_text(f"{FORMAT}\n", encoding="utf-8")
    return FeatureStore(folder, budget, console, about)


def _written_format(folder: Path) -> int | None:
    """The format that a store says it has; None where it says nothing."""
    try:
        return int((folder / "FORMAT").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return 0
