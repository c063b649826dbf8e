"""Files from the network: resumed, verified and put in place in one step; archives unpacked inside their folder."""

from __future__ import annotations

import errno
import hashlib
import http.client
import os
import shutil
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NoReturn

from filelock import FileLock, Timeout

from transferkit import __version__
from transferkit.runtime import cached_files
from transferkit.runtime.console import Console, Progress
from transferkit.runtime.errors import MachineError, TransferkitError
from transferkit.runtime.folders import ensure_folder

CHUNK_BYTES = 1 << 18
TIMEOUT_SECONDS = 30.0
ATTEMPTS = 4  # per URL; only an attempt that got further is followed by another
SLOW_BYTES_PER_SECOND = 200_000  # a mirror below this makes way for the next one
SLOW_AFTER_SECONDS = 15.0
LARGEST_RATIO = 200  # unpacked to packed; photographs and numbers stay far below, bombs far above
SMALL_ARCHIVE_BYTES = 100_000_000  # below this the ratio does not matter


class _Failed(Exception):
    """One URL did not deliver, for the reason in the message."""


@dataclass(frozen=True)
class _Checksum:
    """What a file's hash must be, or how it must begin."""

    algorithm: str
    expected: str

    def other_than_expected(self, path: Path) -> str:
        """The hash of a file that is another one; empty where it is the right one."""
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, self.algorithm).hexdigest()
        return "" if digest.startswith(self.expected.lower()) else digest

    def __str__(self) -> str:
        return f"{self.algorithm.upper()} {self.expected}"


def fetch(
    urls: Sequence[str],
    to: Path,
    *,
    sha256: str | None = None,
    md5: str | None = None,
    title: str,
    console: Console,
    offline: str = "",
) -> Path:
    """Download a file from the first URL that delivers it; a file already there is verified and kept.

    Two processes that want the same file do not disturb each other: one downloads, the other waits and takes what came.
    Bytes arrive in `<to>.part`. With a checksum, a later call goes on where an earlier one was cut off, at another
    mirror too; without one it starts afresh. A mirror that is much too slow makes way for the next one.

    Args:
        urls: The same file at several places, http or https, in the order to try.
        to: Where the file goes.
        sha256: Its SHA-256 in hex, or the first eight digits of it or more, if known.
        md5: Its MD5 in hex, for files whose publisher states no other; ignored beside `sha256`.
        title: What the file is, for progress and errors.
        console: Where progress is shown.
        offline: The sentence that says what works without a network.

    Returns:
        `to`.

    Raises:
        TransferkitError: If a URL is not http or https, or the file already there is another one.
        MachineError: If no URL delivers; lists each failure, and where to put the file by hand.
    """
    _require_http(urls)
    checksum = _Checksum("sha256", sha256) if sha256 else _Checksum("md5", md5) if md5 else None
    if to.exists():
        _require_same(to, checksum)
        return to
    with _alone(to, title, console):
        if not to.exists():
            cached_files.will_write(to, _part_of(to))
            _download(urls, to, checksum, title, console, offline)
        else:
            _require_same(to, checksum)  # another process was faster
    return to


@contextmanager
def _alone(to: Path, title: str, console: Console) -> Iterator[None]:
    """Inside, no other process downloads to `to`; a lock of the system, which ends with the process that holds it."""
    ensure_folder(to.parent)
    path = to.with_name(f".{to.name}.lock")
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        console.line(f"Another process is downloading {title}; waiting for it.")
        lock.acquire()
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # whoever waited for it looks for the downloaded file first
        lock.release()


def _download(
    urls: Sequence[str], to: Path, checksum: _Checksum | None, title: str, console: Console, offline: str
) -> None:
    """From the first URL that delivers.

    Raises:
        MachineError: Lists each failure.
    """
    failures = []
    for number, url in enumerate(urls, start=1):
        try:
            _fetch_one(url, to, checksum, title, console, is_last=number == len(urls))
            return
        except _Failed as failure:
            failures.append(f"{url}: {failure}")
            if number < len(urls):  # after the last one, the error tells
                console.line(f"{title}: {failures[-1]}")
    by_hand = f"Put {to.name} by hand at {to}" + (f" ({checksum})" if checksum else "")
    raise MachineError(
        "\n  ".join([f"Could not download {title} ({to.name}):", *failures])
        + f"\n{by_hand} and run the same command again. {offline}".rstrip()
    )


def _require_http(urls: Sequence[str]) -> None:
    for url in urls:
        if not url.startswith(("https://", "http://")):
            raise TransferkitError(
                f"Cannot download {url!r}. Expected an address that begins with https:// or http://."
            )


def _require_same(path: Path, checksum: _Checksum | None) -> None:
    if checksum and (actual := checksum.other_than_expected(path)):
        raise TransferkitError(
            f"{path} is another file than expected, or incomplete: its {checksum.algorithm.upper()} is {actual}, "
            f"expected {checksum.expected}. Delete it and run the same command again."
        )


def _fetch_one(url: str, to: Path, checksum: _Checksum | None, title: str, console: Console, *, is_last: bool) -> None:
    """Download, verify and rename.

    Raises:
        _Failed: With the reason; a wrong file is deleted, a part of the right one is kept.
    """
    part = _part_of(to)
    if checksum is None:
        part.unlink(missing_ok=True)
    for _ in range(ATTEMPTS):
        had = _size(part)
        try:
            is_complete = _receive(url, part, title, console, may_be_slow=is_last)
        except OSError as error:
            _raise_if_disk_full(error, part)
            raise _Failed(_network_reason(error)) from error
        if is_complete:
            if _put_in_place(part, to, checksum, resumed=had > 0):
                return
        elif _size(part) <= had:
            break
    raise _Failed("the connection was cut again and again")


def _put_in_place(part: Path, to: Path, checksum: _Checksum | None, *, resumed: bool) -> bool:
    """Verify and rename; False if a resumed file turned out wrong and is worth one attempt from its beginning."""
    if checksum and (actual := checksum.other_than_expected(part)):
        part.unlink()
        if resumed:
            return False
        raise _Failed(
            f"the file came with {checksum.algorithm.upper()} {actual}, expected {checksum.expected}; it was deleted"
        )
    os.replace(part, to)
    return True


def _part_of(to: Path) -> Path:
    return to.with_name(to.name + ".part")


def _receive(url: str, part: Path, title: str, console: Console, *, may_be_slow: bool) -> bool:
    """Add to `part` what is missing; False if the connection was cut before the end."""
    start = _size(part)
    headers = {"User-Agent": f"transferkit/{__version__}"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        response = _opener().open(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and start:
            return True  # nothing is missing, or the file is another one: the checksum tells
        raise
    with response:
        start = start if _continues_at(response, start) else 0
        length = int(response.headers.get("Content-Length") or 0)
        _require_space(part, length)
        with part.open("ab" if start else "wb") as file, _Bar(console, title, length, start) as bar:
            while chunk := _read(response):
                file.write(chunk)
                bar.advance(len(chunk))
                if not may_be_slow and bar.is_slow:
                    raise _Failed(f"slow ({bar.bytes_per_second / 1000:.0f} kB/s), so the next mirror is tried")
            return not length or bar.received == length


def _read(response: http.client.HTTPResponse) -> bytes:
    """The next bytes; none at the end, and none where the connection was cut."""
    try:
        return response.read1(CHUNK_BYTES)
    except (http.client.IncompleteRead, ConnectionError):
        return b""


def _continues_at(response: http.client.HTTPResponse, start: int) -> bool:
    """Whether the server sends the bytes from `start` on; many send the whole file instead."""
    sent = response.headers.get("Content-Range", "")
    return response.status == http.client.PARTIAL_CONTENT and sent.startswith(f"bytes {start}-")


def _opener() -> urllib.request.OpenerDirector:
    """Opens http and https alone, after redirects too; urllib's own opener would follow to ftp."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


class _Bar:
    """Progress in MB (kB for small files) over the bytes of one answer."""

    def __init__(self, console: Console, title: str, length: int, start: int) -> None:
        self.bytes_per_unit, unit = (1_000_000, "MB") if length >= 10_000_000 else (1_000, "kB")
        resumed = f", resumed at {start / self.bytes_per_unit:,.0f} {unit}" if start else ""
        total = -(-length // self.bytes_per_unit)
        self._progress = Progress(console, f"Downloading {title}{resumed}", total, unit)
        self._started = time.perf_counter()
        self.received = 0

    def __enter__(self) -> _Bar:
        self._progress.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.__exit__()

    def advance(self, count: int) -> None:
        self.received += count
        units = -(-self.received // self.bytes_per_unit)
        if units > self._progress.done:
            self._progress.advance(units - self._progress.done)

    @property
    def bytes_per_second(self) -> float:
        return self.received / max(time.perf_counter() - self._started, 1e-9)

    @property
    def is_slow(self) -> bool:
        waited = time.perf_counter() - self._started
        return waited > SLOW_AFTER_SECONDS and self.bytes_per_second < SLOW_BYTES_PER_SECOND


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _network_reason(error: OSError) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answered {error.code} {error.reason}"
    if isinstance(error, TimeoutError):
        return f"no answer within {TIMEOUT_SECONDS:.0f} s"
    return str(getattr(error, "reason", error)) or type(error).__name__


def _require_space(path: Path, needed: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        _raise_no_space(path.parent, needed, free)


def _raise_if_disk_full(error: OSError, path: Path) -> None:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        raise MachineError(
            f"The disk is full: {path} could not be written. Free some space, or set TRANSFERKIT_CACHE to another "
            "disk, and run the same command again; the download goes on where it stopped."
        ) from error


def _raise_no_space(folder: Path, needed: int, free: int) -> NoReturn:
    raise MachineError(
        f"{folder} has {free / 1e6:,.0f} MB free; {needed / 1e6:,.0f} MB are needed. Free some space, or set "
        "TRANSFERKIT_CACHE to a folder on another disk."
    )


# ------------------------------------------------------------------------------------------------ archives


def unpack(archive: Path, into: Path) -> Path:
    """Unpack a tar or zip archive into a new folder, complete or not at all; nothing is written outside it.

    Returns:
        `into`; a folder that is already there is kept as it is.

    Raises:
        TransferkitError: If the file is no archive, is damaged, reaches outside its folder or unpacks to a size out of
            all proportion.
        MachineError: If the disk has too little space.
    """
    if into.exists():
        return into
    ensure_folder(into.parent)
    with tempfile.TemporaryDirectory(prefix=f".{into.name}-", dir=into.parent) as scratch:
        unpacked = Path(scratch) / "unpacked"
        unpacked.mkdir()
        try:
            _unpack(archive, unpacked)
        except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
            if isinstance(error, OSError):
                _raise_if_disk_full(error, unpacked)
            raise TransferkitError(
                f"Cannot unpack {archive}: {error}. Delete it and run the same command again to download it afresh."
            ) from error
        cached_files.will_write(*(into / file.relative_to(unpacked) for file in unpacked.rglob("*") if file.is_file()))
        try:
            os.rename(unpacked, into)
        except OSError:
            if not into.is_dir():  # else another process was faster, with the same content
                raise
    return into


def _unpack(archive: Path, into: Path) -> None:
    if zipfile.is_zipfile(archive):
        _unpack_zip(archive, into)
    elif tarfile.is_tarfile(archive):
        _unpack_tar(archive, into)
    else:
        raise TransferkitError(f"{archive} is neither a tar nor a zip archive.")


def _unpack_zip(archive: Path, into: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        members = file.infolist()
        _require_inside(archive, [member.filename for member in members])
        _require_sane(archive, sum(member.file_size for member in members), into)
        file.extractall(into)


def _unpack_tar(archive: Path, into: Path) -> None:
    with tarfile.open(archive) as tar:
        members = tar.getmembers()
        _require_inside(archive, [member.name for member in members])
        _require_sane(archive, sum(member.size for member in members), into)
        for member in members:
            _unpack_member(archive, tar, member, into / member.name)


def _unpack_member(archive: Path, tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    """Write a file or make a folder with the rights of new ones; tarfile's own filters need Python 3.11.4."""
    if member.isdir():
        path.mkdir(parents=True, exist_ok=True)
    elif content := tar.extractfile(member) if member.isfile() else None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with content, open(path, "wb") as file:
            shutil.copyfileobj(content, file)
    else:
        raise TransferkitError(
            f"{archive} was not unpacked: its member {member.name!r} is a link or a device, which may reach outside "
            "the folder. Unpack it yourself and name the folder instead."
        )


def _require_inside(archive: Path, names: Sequence[str]) -> None:
    for name in names:
        for path in (PurePosixPath(name), PureWindowsPath(name)):
            if path.anchor or ".." in path.parts:
                raise TransferkitError(
                    f"{archive} was not unpacked: its member {name!r} would be written outside the folder."
                )


def _require_sane(archive: Path, unpacked: int, into: Path) -> None:
    packed = archive.stat().st_size
    if unpacked > max(LARGEST_RATIO * packed, SMALL_ARCHIVE_BYTES):
        raise TransferkitError(
            f"{archive} was not unpacked: its {packed / 1e6:,.1f} MB would become {unpacked / 1e6:,.0f} MB."
        )
    _require_space(into, unpacked)
