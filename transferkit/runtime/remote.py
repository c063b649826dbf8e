"""Files by path or by URL (s3://, gs://, https://, memory://): what has a scheme is read through fsspec."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from transferkit.runtime.errors import TransferkitError, quoted

PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "az": "adlfs"} | dict.fromkeys(
    ("http", "https"), "aiohttp requests"
)


def is_url(name: str) -> bool:
    """Whether a name has a scheme.

    Example:
        >>> is_url("s3://bucket/photos"), is_url("photos/a.jpg"), is_url("C:/photos")
        (True, False, False)
    """
    return "://" in name


def file_system(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the path in it.

    Raises:
        TransferkitError: If the scheme is unknown, or its package is missing.
    """
    import fsspec

    try:
        system, path = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        package = PACKAGES.get(url.partition("://")[0], "")
        mend = f" Type: pip install {package}" if package else ""
        raise TransferkitError(f"Cannot open {quoted(url)}: {str(error).splitlines()[0]}.{mend}") from error
    return system, path


@contextmanager
def opened(name: str) -> Iterator[IO[bytes]]:
    """A file to read bytes from, and to seek in.

    Raises:
        TransferkitError: If it cannot be opened.
    """
    try:
        if not is_url(name):
            with open(name, "rb") as file:
                yield file
            return
        system, path = file_system(name)
        with system.open(path, "rb") as file:
            yield file
    except OSError as error:
        raise TransferkitError(f"Cannot read {name}: {error.strerror or error}.") from error


def is_file(name: str) -> bool:
    """Whether there is a file; of a URL, also whether it may be read."""
    if not is_url(name):
        return os.path.isfile(name)
    system, path = file_system(name)
    return bool(system.isfile(path))


def folder_of(name: str) -> str:
    """The folder that a file or a folder lies in; "" above the top of a URL.

    Example:
        >>> folder_of("s3://bucket/train/0.tar"), folder_of("s3://bucket"), folder_of("/data/0.tar")
        ('s3://bucket/train', '', '/data')
    """
    if not is_url(name):
        return os.path.dirname(os.path.abspath(name))
    folder = name.rpartition("/")[0]
    return "" if folder.endswith("/") else folder


def read_span(name: str, start: int = 0, end: int | None = None) -> bytes:
    """The bytes of a file from `start` to `end`, in one request.

    Raises:
        TransferkitError: If they cannot be read.
    """
    if not is_url(name):
        with opened(name) as file:
            file.seek(start)
            return file.read(-1 if end is None else end - start)
    system, path = file_system(name)
    try:
        content: bytes = system.cat_file(path, start=start, end=end)
    except OSError as error:
        raise TransferkitError(f"Cannot read {name}: {error.strerror or error}.") from error
    return content


def files_at(url: str) -> list[str]:
    """The URLs of all files below a URL, of those that a pattern means, or of the one file itself, in order.

    Raises:
        TransferkitError: If it cannot be listed.
    """
    system, path = file_system(url)
    try:
        names = system.glob(path) if "*" in path else system.find(path)
    except OSError as error:
        raise TransferkitError(f"Cannot list {url}: {error.strerror or error}.") from error
    return [system.unstrip_protocol(name) for name in sorted(names)]
