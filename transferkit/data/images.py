"""Images as one uint8 array with labels, names and a fingerprint; splits whose test part is sealed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypedDict, TypeVar

import numpy as np
import numpy.typing as npt

from transferkit.data.file_facts import FileFacts
from transferkit.data.streamed_pixels import StreamedPixels
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.plurals import counted

Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]
Fact = TypeVar("Fact")


@dataclass(frozen=True)
class Images:
    """Images, decoded once and never modified.

    Attributes:
        storage: (M, 3, H, W) uint8, in memory, memory-mapped or streamed; shared by the subsets of one data set.
        rows: (N,) int64, where in `storage` each image lies.
        labels: (N,) int64 in 0..C-1; None where nobody has said, or where the classes are foreign.
        class_names: C strings.
        ids: N strings, the path or index of each image.
        storage_digests: (M, 16) uint8, the BLAKE2b digest of each stored image, where already known.
        storage_contents: (M, 16) uint8, the digest of the file of each stored image and of how it was read, where the
            images come from files: decoders may differ by a level here and there, files do not.
        origin: Of which data set or folder, for listings.
        groups: N strings, what each image belongs to (a patient, a video) and is never parted from by a split; None
            where every image stands for itself.
    """

    storage: Pixels | StreamedPixels
    rows: Labels
    labels: Labels | None
    class_names: tuple[str, ...]
    ids: tuple[str, ...]
    storage_digests: Pixels | None = field(default=None, repr=False)
    origin: str = ""
    groups: tuple[str, ...] | None = None
    storage_contents: Pixels | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.storage.ndim != 4 or self.storage.dtype != np.uint8 or is_channels_last(self.storage.shape):
            raise TransferkitError(
                f"Images need uint8 pixels of shape (N, bands, H, W); found {self.storage.dtype} {self.storage.shape}."
            )
        labels = np.zeros(len(self.rows), np.int64) if self.labels is None else self.labels
        if not len(self.rows) == len(labels) == len(self.ids):
            raise TransferkitError(
                f"Images need one label and one id per image; found {counted(len(self.rows), 'image')}, "
                f"{counted(len(labels), 'label')} and {counted(len(self.ids), 'id')}."
            )
        if self.groups is not None and len(self.groups) != len(self.ids):
            raise TransferkitError(
                f"Images need one group per image or none at all; found {counted(len(self.ids), 'image')} and "
                f"{counted(len(self.groups), 'group')}."
            )
        if self.labels is not None and len(labels) and not 0 <= labels.min() <= labels.max() < len(self.class_names):
            raise TransferkitError(
                f"Labels must lie in 0..{len(self.class_names) - 1}, one per class name; "
                f"found {labels.min()}..{labels.max()}."
            )

    @classmethod
    def from_pixels(
        cls,
        pixels: Pixels,
        labels: npt.ArrayLike | None,
        class_names: Sequence[str],
        ids: Sequence[str] | None = None,
        digests: Pixels | None = None,
        groups: Sequence[str] | None = None,
    ) -> Images:
        """Images from an array (N, 3, H, W); labels may be None, ids default to the indices."""
        names = tuple(ids) if ids is not None else tuple(str(index) for index in range(len(pixels)))
        rows = np.arange(len(pixels), dtype=np.int64)
        together = tuple(groups) if groups is not None else None
        known = None if labels is None else np.asarray(labels, dtype=np.int64)
        return cls(pixels, rows, known, tuple(class_names), names, digests, groups=together)

    def __len__(self) -> int:
        return len(self.rows)

    def require_labels(self) -> Labels:
        """(N,) int64, for what cannot do without them.

        Raises:
            TransferkitError: If nobody has labelled these images.
        """
        if self.labels is None:
            raise TransferkitError(
                f"The images{f' of {self.origin}' if self.origin else ''} have no labels. Expected one per image: "
                "take a labelled data set, or Images.from_pixels(pixels, labels, class_names)."
            )
        return self.labels

    @property
    def size_px(self) -> tuple[int, int]:
        """Height and width in px."""
        return self.storage.shape[2], self.storage.shape[3]

    @property
    def bands(self) -> int:
        """Of an image: three of a picture in colour."""
        return int(self.storage.shape[1])

    def band_statistics(self, most: int = 2000) -> tuple[list[float], list[float]]:
        """Mean and standard deviation of each band over at most so many images, evenly spread, for pixels in [0, 1].

        A band that never changes has the deviation 1, so that it can be divided by.
        """
        sums, squares, count = np.zeros(self.bands), np.zeros(self.bands), 0
        for chunk in self.spread(most).chunks(100):
            values = chunk.transpose(1, 0, 2, 3).reshape(self.bands, -1) / 255
            sums, squares, count = sums + values.sum(1), squares + (values**2).sum(1), count + values.shape[1]
        mean = sums / count
        deviation = np.sqrt(np.maximum(squares / count - mean**2, 0))
        return mean.tolist(), np.where(deviation > 1e-6, deviation, 1.0).tolist()

    @property
    def num_bytes(self) -> int:
        """Bytes of the pixels of these images."""
        return len(self) * int(np.prod(self.storage.shape[1:]))

    @property
    def pixels(self) -> Pixels:
        """(N, 3, H, W) uint8; a copy unless these images are the whole storage."""
        if len(self.rows) == len(self.storage) and np.array_equal(self.rows, np.arange(len(self.rows))):
            return np.asarray(self.storage)
        return self.storage[self.rows]

    def take(self, indices: npt.NDArray[np.int64] | slice) -> Pixels:
        """(B, 3, H, W) uint8, a copy of the pixels of some images."""
        return np.array(self.storage[self.rows[indices]])

    def chunks(self, size: int) -> Iterator[Pixels]:
        """Pixels in order, at most `size` images at a time."""
        for start in range(0, len(self), size):
            yield self.take(slice(start, start + size))

    def subset(self, indices: npt.ArrayLike) -> Images:
        """The images at `indices`, sharing the storage."""
        chosen = np.asarray(indices, dtype=np.int64)
        ids = tuple(self.ids[index] for index in chosen)
        groups = self.groups and tuple(self.groups[index] for index in chosen)
        labels = None if self.labels is None else self.labels[chosen]
        return replace(self, rows=self.rows[chosen], labels=labels, ids=ids, groups=groups)

    def spread(self, count: int) -> Images:
        """At most `count` of the images, evenly spread over them."""
        return self.subset(np.unique(np.linspace(0, len(self) - 1, count).astype(np.int64)) if len(self) else [])

    def joined(self, others: Images) -> Images:
        """These images and others of the same classes and side; the pixels are copied unless they share a storage."""
        ids, labels = (*self.ids, *others.ids), np.concatenate([self.require_labels(), others.require_labels()])
        groups = joined_groups(self, others)
        if self.storage is others.storage:
            rows = np.concatenate([self.rows, others.rows])
            return replace(self, rows=rows, labels=labels, ids=ids, groups=groups)
        pixels = np.concatenate([self.pixels, others.pixels])
        return Images.from_pixels(pixels, labels, self.class_names, ids, groups=groups)

    @cached_property
    def digests(self) -> Pixels:
        """(N, 16) uint8, one BLAKE2b digest per image, over its pixels alone."""
        if self.storage_digests is not None:
            return self.storage_digests[self.rows]
        digests = b"".join(image_digest(image) for chunk in self.chunks(1024) for image in chunk)
        return np.frombuffer(digests, dtype=np.uint8).reshape(len(self), 16)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) over shape, files or else pixels, labels and class names, in order; not over ids and groups."""
        known = self.storage_contents
        return self._fingerprint(self.digests if known is None else known[self.rows])

    def is_known_as(self, fingerprint: str) -> bool:
        """Whether it is these images': by their files, or by their pixels, as earlier versions kept it."""
        return fingerprint in (self.fingerprint, self._fingerprint(self.digests))

    def _fingerprint(self, digests: Pixels) -> str:
        digest = hashlib.sha256(repr((self.size_px, self.class_names)).encode())
        digest.update(digests.tobytes())
        digest.update(b"" if self.labels is None else self.labels.tobytes())
        return digest.hexdigest()

    def with_pixels(self, pixels: Pixels) -> Images:
        """Other pixels (N, bands, H, W) of the same images, as after a change of all."""
        rows = np.arange(len(self), dtype=np.int64)
        return replace(self, storage=pixels, rows=rows, storage_digests=None, storage_contents=None)


def first_three(pixels: Pixels) -> Pixels:
    """The bands of (..., C, H, W) that a page shows as red, green and blue; of fewer the first alone."""
    return pixels[..., :3, :, :] if pixels.shape[-3] >= 3 else np.repeat(pixels[..., :1, :, :], 3, axis=-3)


def image_digest(pixels: Pixels) -> bytes:
    """The 16-byte BLAKE2b digest of one image's pixels."""
    return hashlib.blake2b(np.ascontiguousarray(pixels).reshape(-1).data, digest_size=16).digest()


def joined_groups(first: Images, second: Images) -> tuple[str, ...] | None:
    """The groups of both, where either has any; an image without group is a group of its own."""
    if first.groups is None and second.groups is None:
        return None
    parts = [part.ids if part.groups is None else part.groups for part in (first, second)]
    return (*parts[0], *parts[1])


@dataclass
class SealedImages:
    """A test set behind a seal: its pixels and labels are reached by `open` alone, and openings are counted."""

    _images: Images
    openings: int = 0

    def open(self) -> Images:
        """The images; each call counts as one opening."""
        self.openings += 1
        return self._images

    def measured(self, measure: Callable[[Images], Fact]) -> Fact:
        """A fact that may be known without opening, as how many images there are: nothing is learnt or chosen by it."""
        return measure(self._images)

    def __len__(self) -> int:
        return len(self._images)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Class names may be known without opening."""
        return self._images.class_names

    @property
    def fingerprint(self) -> str:
        """The content's fingerprint may be known without opening."""
        return self._images.fingerprint

    def is_known_as(self, fingerprint: str) -> bool:
        """Likewise."""
        return self._images.is_known_as(fingerprint)

    @property
    def size_px(self) -> tuple[int, int]:
        """Height and width in px may be known without opening."""
        return self._images.size_px


class ReadAs(TypedDict, total=False):
    """Keys of a recipe that said auto, as they turned out: bits or a window of values, and how many bands."""

    range: int | tuple[float, float]
    channels: int


@dataclass(frozen=True)
class Splits:
    """Train and val to learn and choose with, test to open once.

    Attributes:
        train: Images to learn from.
        val: To choose with.
        test: Sealed.
        notes: Lines the report must show.
        read_as: Keys of the data that said auto, as they turned out; a run's recipe holds them.
        files: What was seen of the files, for checks.
    """

    train: Images
    val: Images
    test: SealedImages
    notes: tuple[str, ...] = ()
    read_as: ReadAs = field(default_factory=ReadAs)
    files: FileFacts = field(default_factory=FileFacts)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes of all three parts."""
        return self.train.class_names

    def named(self, origin: str) -> Splits:
        """The same splits, each part with its origin; the test images stay sealed."""
        train, val = replace(self.train, origin=f"{origin}, train"), replace(self.val, origin=f"{origin}, val")
        test = replace(self.test, _images=replace(self.test._images, origin=f"{origin}, test"))
        return replace(self, train=train, val=val, test=test)

    def noted(self, notes: tuple[str, ...]) -> Splits:
        """The same splits with more notes; the test images stay behind their one seal."""
        return replace(self, notes=(*self.notes, *notes))


def aligned(images: Images, class_names: Sequence[str]) -> Images:
    """The same images with labels counted along `class_names`; data sets meet by name, never by position.

    Raises:
        TransferkitError: If a class of the images is not among `class_names`; shows the difference.
    """
    if images.class_names == tuple(class_names):
        return images
    require_known_classes(images.class_names, class_names)
    position = {name: index for index, name in enumerate(class_names)}
    mapping = np.array([position[name] for name in images.class_names], dtype=np.int64)
    return replace(images, labels=mapping[images.require_labels()], class_names=tuple(class_names))


def require_known_classes(given: Sequence[str], class_names: Sequence[str]) -> None:
    """Refuse names that train does not have.

    Raises:
        TransferkitError: Shows the difference.
    """
    unknown = sorted(set(given) - set(class_names))
    if unknown:
        missing = sorted(set(class_names) - set(given))
        raise TransferkitError(
            f"Class names differ. Only here: {_listed(unknown)}; only in train: {_listed(missing)}. "
            "Rename the class folders so that every part of the data uses the names of train."
        )


def require_every_class(class_names: Sequence[str], counts: Sequence[int]) -> None:
    """Refuse a training set with fewer than two classes, or a class without images.

    Raises:
        TransferkitError: Names the empty classes.
    """
    if len(class_names) < 2:
        raise TransferkitError(
            f"A classifier needs at least two classes; found {len(class_names)}: {_listed(list(class_names))}."
        )
    empty = [name for name, count in zip(class_names, counts, strict=True) if count == 0]
    if empty:
        raise TransferkitError(
            f"No training image for {len(empty)} of {counted(len(class_names), 'class', 'classes')}: {_listed(empty)}. "
            "Add images, or remove these class folders."
        )


def _listed(names: Sequence[str], limit: int = 8) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return (", ".join(repr(name) for name in names[:limit]) or "none") + more


def is_channels_last(shape: tuple[int, ...]) -> bool:
    """Whether four axes are (N, H, W, channels): a last one of 1 or 3 behind two that are alike and larger.

    Example:
        >>> is_channels_last((2, 4, 4, 3)), is_channels_last((2, 3, 4, 4)), is_channels_last((2, 13, 3, 3))
        (True, False, False)
    """
    return shape[-1] in (1, 3) and shape[1] == shape[2] > shape[-1]
