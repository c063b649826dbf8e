"""The files of a request, read no further than the limits allow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from typing import IO

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from transferkit.deploy.serving.refusals import CLOSE, Refusal, overloaded
from transferkit.deploy.serving.settings import Limits
from transferkit.runtime.plurals import counted

IN_MEMORY = 1_000_000  # bytes of a file; the rest waits on disk
LONGEST_NAME = 200  # characters of a file's name that are given back
MOST_FIELDS = 8  # of a form, besides files
DISCARDED_BYTES = 100_000_000  # of a refused body at most, so that its sender reads the refusal
DISCARDED_SECONDS = 5.0


@dataclass(frozen=True)
class Upload:
    """A file as it came; its name is whatever the sender wrote."""

    name: str
    file: IO[bytes]


class Waiting:
    """Counts the images in work, and refuses those beyond the limit; used by the event loop alone."""

    def __init__(self, most: int) -> None:
        self.most, self.count = most, 0

    @contextmanager
    def taken(self, images: int) -> Iterator[None]:
        """So many places; free again afterwards.

        Raises:
            Refusal: 503, if there are not so many.
        """
        if self.count + images > self.most:
            raise overloaded()
        self.count += images
        try:
            yield
        finally:
            self.count -= images


async def received(request: Request, limits: Limits) -> list[Upload]:
    """The files of a form, or the one file that is the body.

    Raises:
        Refusal: 400 if there is none, 408 if they take too long, 413 if they are too many or too large, 415 if the body
            is something else.
    """
    body = request.stream()
    try:
        async with asyncio.timeout(limits.seconds):
            return await _files(request, body, limits)
    except TimeoutError:
        raise Refusal(408, f"The request did not arrive within {limits.seconds:g} s.", CLOSE) from None
    except Refusal:
        if "expect" not in request.headers:  # else nothing comes before it is asked for
            await _discard(body)
        raise


async def _files(request: Request, body: AsyncGenerator[bytes, None], limits: Limits) -> list[Upload]:
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limits.bytes:
        raise _too_large(limits)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return await _files_of_form(request, body, limits)
    if kind.startswith("image/") or kind == "application/octet-stream":
        return [await _whole_body(body, limits)]
    raise Refusal(415, "Expected a form with files (multipart/form-data) or an image (Content-Type: image/...).", CLOSE)


async def _discard(body: AsyncGenerator[bytes, None]) -> None:
    """Let the rest of a refused body come and go, within bounds.

    A sender that is cut off while it sends sees a broken connection in place of the answer.
    """
    total = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(DISCARDED_SECONDS):
            async for chunk in body:
                total += len(chunk)
                if total > DISCARDED_BYTES:
                    return


async def _files_of_form(request: Request, body: AsyncGenerator[bytes, None], limits: Limits) -> list[Upload]:
    stream = _counted(body, limits)
    parser = MultiPartParser(request.headers, stream, max_files=limits.images, max_fields=MOST_FIELDS)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        if "Too many files" in error.message:
            raise Refusal(
                413, f"More than {counted(limits.images, 'image')} in one request; send several.", CLOSE
            ) from None
        raise Refusal(400, f"The form cannot be read: {error.message}", CLOSE) from None
    files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
    if not files:
        raise Refusal(400, "The form holds no file. Send images as files: curl -F images=@photo.jpg ...")
    return [
        Upload((file.filename or f"image {number}")[:LONGEST_NAME], file.file) for number, file in enumerate(files, 1)
    ]


async def _whole_body(body: AsyncGenerator[bytes, None], limits: Limits) -> Upload:
    file = SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115 - closed by whoever answers
    try:
        async for chunk in _counted(body, limits):
            file.write(chunk)
    except BaseException:
        file.close()
        raise
    file.seek(0)
    return Upload("image 1", file)


async def _counted(body: AsyncGenerator[bytes, None], limits: Limits) -> AsyncGenerator[bytes, None]:
    """The body, as long as it is within the limit."""
    total = 0
    async for chunk in body:
        total += len(chunk)
        if total > limits.bytes:
            raise _too_large(limits)
        yield chunk


def _too_large(limits: Limits) -> Refusal:
    return Refusal(413, f"More than {counted(limits.bytes, 'byte')}; send fewer or smaller images.", CLOSE)
