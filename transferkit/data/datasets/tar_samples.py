"""The samples of a tar file in WebDataset's layout: members in a row that share a name up to its first dot."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import IO, NamedTuple, Self

from transferkit.data.image_files import EXTENSIONS, PICTURES
from transferkit.runtime.errors import TransferkitError, quoted
from transferkit.runtime.plurals import counted

LABEL_KEYS = ("label", "labels", "class", "target", "fine_label", "cls")
LABEL_ENDINGS = (".cls", ".txt", ".json")
LARGEST_LABEL = 2**20  # bytes
LARGEST_RECORD = 512 * 2**20  # bytes; no image is larger, and memory holds it
APPLE_DOUBLE = "._"  # how the names begin under which macOS stores what its own file system knows of a file


class WholeTarInfo(tarfile.TarInfo):
    """A header that is there and readable; tarfile alone takes a file that was cut or damaged for one that ends there.

    Only the mark at its end ends a tar file. `ignore_zeros` reads on after it, as `cat a.tar b.tar` needs.
    """

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> Self:
        """The next header.

        Raises:
            tarfile.ReadError: If there is none, and no mark of the end either, or it cannot be read.
        """
        try:
            member = super().fromtarfile(tarfile)
        except HEADER_ERROR as error:
            what = type(error).__name__
            if what == "EOFHeaderError":
                tarfile.ended = True  # type: ignore[attr-defined]
            elif what != "EmptyHeaderError" or not getattr(tarfile, "ended", False):
                raise READ_ERROR(_what_is_wrong(what, tarfile.offset)) from error
            raise
        tarfile.ended = False  # type: ignore[attr-defined]
        return member


HEADER_ERROR, READ_ERROR = tarfile.HeaderError, tarfile.ReadError


def _what_is_wrong(error: str, offset: int) -> str:
    """What stands where a header should."""
    if error in ("EmptyHeaderError", "TruncatedHeaderError"):
        return (
            f"it ends after {counted(offset, 'byte')}, without the mark of its end" if offset else "it is empty or cut"
        )
    return f"no header at byte {offset:,}"


@contextmanager
def tar_archive(name: str, mode: str, file: IO[bytes] | None = None) -> Iterator[tarfile.TarFile]:
    """A tar file that must be whole, by path or as an open file.

    Raises:
        TransferkitError: If it is damaged, or compressed where the mode wants none.
    """
    compressed = "" if mode.endswith("*") else " Parts of a compressed one cannot be read."
    try:
        with tarfile.open(  # type: ignore[call-overload]
            None if file else name,
            mode,
            fileobj=file,
            tarinfo=WholeTarInfo,
            ignore_zeros=True,
            errors="backslashreplace",
        ) as archive:
            yield archive
    except (tarfile.TarError, EOFError, OSError) as error:
        kinds = "damaged or compressed" if compressed else "damaged"
        why = str(error).partition("\n")[0].rstrip(".:")
        raise TransferkitError(f"{name} is no tar file, or {kinds}: {why}.{compressed}") from error


class Member(NamedTuple):
    """A file of a sample: from where to where it lies, and its bytes where they were read."""

    ending: str
    start: int
    end: int
    content: bytes = b""


@dataclass
class TarSample:
    """Neighbours in a tar file that share a name up to its first dot; `path` is the tar file."""

    path: str
    key: str
    members: list[Member] = field(default_factory=list)

    def image(self) -> Member | None:
        """The image; an array (`.npy`) counts only where there is no picture, as beside pictures it is mostly features.

        Raises:
            TransferkitError: If there are two.
        """
        images = [member for member in self.members if member.ending in PICTURES]
        images = images or [member for member in self.members if member.ending in EXTENSIONS]
        if len(images) > 1:
            raise self.fault("Expected one image")
        return images[0] if images else None

    def label(self, label_key: str | None = None) -> str | None:
        """The class, from the members beside the image; None where they tell none.

        Raises:
            TransferkitError: If one holds no single line of text, or .cls and .json name two classes.
        """
        texts = {member.ending: member.content for member in self.members if member.ending in LABEL_ENDINGS}
        from_json = self._json_label(texts.get(".json"), label_key)
        if label_key is not None:
            return from_json
        written = next((self._line(ending, texts[ending]) for ending in (".cls", ".txt") if ending in texts), None)
        if ".cls" in texts and from_json and written != from_json and _is_number(written) == _is_number(from_json):
            raise self.fault(f"Its class is {quoted(written)} in .cls and {quoted(from_json)} in .json: expected one")
        return from_json if written is None else written

    def _line(self, ending: str, content: bytes) -> str:
        """A class as text."""
        try:
            text = content.decode("utf-8").strip()
        except UnicodeDecodeError:
            raise self.fault(f"{ending} holds {quoted(content)}. Expected the class in UTF-8") from None
        if not text or len(text.splitlines()) > 1 or len(content) > LARGEST_LABEL:
            raise self.fault(f"{ending} holds {quoted(text)}. Expected one class, on one line")
        return text

    def _json_label(self, content: bytes | None, key: str | None) -> str | None:
        try:
            facts = json.loads(content or b"null")
        except (ValueError, RecursionError):
            return None
        keys = (key,) if key else LABEL_KEYS
        label = next((facts[key] for key in keys if key in facts), None) if isinstance(facts, dict) else None
        return str(label) if isinstance(label, (int, str)) and not isinstance(label, bool) and label != "" else None

    def fault(self, expected: str) -> TransferkitError:
        """What the sample has, and what was expected."""
        endings = ", ".join(member.ending for member in self.members)
        return TransferkitError(f"{self.path}: {quoted(self.key)} has {endings}. {expected}.")


def _is_number(label: str | None) -> bool:
    return label is not None and label.isdecimal()


def tar_samples(archive: tarfile.TarFile, path: str, *, with_images: bool) -> Iterator[TarSample]:
    """The samples in their order; links, devices and what macOS leaves beside files are passed over.

    Raises:
        TransferkitError: If two samples have one name, or a member is too large for any image.
    """
    sample, known = TarSample(path, ""), set[str]()
    for member in archive:
        archive.members = []  # type: ignore[attr-defined]  # else it keeps them all
        whole = PurePosixPath(member.name)
        if not member.isfile() or whole.name.startswith(APPLE_DOUBLE):
            continue
        if member.size > LARGEST_RECORD:
            raise TransferkitError(
                f"{path}: {quoted(member.name)} has {counted(member.size, 'byte')}; at most {LARGEST_RECORD:,}."
            )
        stem, _, ending = whole.name.partition(".")
        key, ending = str(whole.parent / stem), f".{ending.lower()}"
        if key != sample.key:
            if sample.members:
                yield sample
            if key in known:
                raise TransferkitError(
                    f"{path}: two samples are called {quoted(key)}. Expected its members in a row, once."
                )
            known.add(key)
            sample = TarSample(path, key)
        wanted = ending in LABEL_ENDINGS or (with_images and ending in EXTENSIONS)
        content = _content(archive, member, ending) if wanted else b""
        sample.members.append(Member(ending, member.offset_data, member.offset_data + member.size, content))
    if sample.members:
        yield sample


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo, ending: str) -> bytes:
    """All of an image; of a class one byte more than it may have, to know that it has more."""
    file = archive.extractfile(member)
    return file.read(LARGEST_LABEL + 1 if ending in LABEL_ENDINGS else -1) if file else b""
