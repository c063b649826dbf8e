"""Decodes many files in several processes, each of which writes its pixels straight into the cache's files.

Threads were measured too: on 4 cores, processes decode 32 px JPEGs 6.5 times and 500 x 375 px JPEGs 1.4 times as fast.
The processes are plain children that read tasks line by line: unlike those of multiprocessing they never import the
user's script again, and they inherit none of this process's threads. They import torch, for its resize, only where that
pays (`resizing.worthwhile`).
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from transferkit.data.decoding import decode_many
from transferkit.data.reading import Reading
from transferkit.data.resizing import RESIZERS
from transferkit.runtime.console import Console
from transferkit.runtime.errors import MachineError
from transferkit.runtime.plurals import counted

CHUNK = 32  # files per task
FEW_FILES, FEW_BYTES = 500, 2_000_000  # below both, starting processes takes longer than decoding here

Failures = list[tuple[int, str]]

# -I keeps modules in the working folder from being imported in place of the standard library's.
BOOT = """
import json, sys
first = json.loads(sys.stdin.readline())
sys.path[:] = first["sys_path"]
from transferkit.data.datasets.folder_workers import Decoding, serve
serve(Decoding.from_json(first["decoding"]), sys.stdin, sys.stdout)
"""


@dataclass(frozen=True)
class Decoding:
    """What all tasks share.

    Attributes:
        pixels: The file that takes them.
        digests: The file that takes, of each image, the digest of its pixels and that of its file.
        size: Side in px.
        reading: How files are read.
        resizer: One of RESIZERS.
    """

    pixels: str
    digests: str
    size: int
    reading: Reading
    resizer: str = "pillow"

    def to_json(self) -> str:
        """For a child process."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Decoding:
        """What `to_json` wrote."""
        values = json.loads(text)
        return cls(**{**values, "reading": Reading(**values["reading"])})


def decode_into(decoding: Decoding, paths: Sequence[str], num_bytes: int, workers: int, console: Console) -> Failures:
    """Decode every file into its row of these files, and report those that cannot be read.

    Raises:
        MachineError: If the disk is full or a process dies.
    """
    chunks = [(start, list(paths[start : start + CHUNK])) for start in range(0, len(paths), CHUNK)]
    is_little = len(paths) < FEW_FILES and num_bytes < FEW_BYTES
    with contextlib.ExitStack() as stack:
        if is_little or workers == 1:
            results = stack.enter_context(_here(decoding, chunks))
        else:
            results = stack.enter_context(_in_processes(decoding, chunks, min(workers, len(chunks))))
        bar = stack.enter_context(console.progress("Decoding images", len(paths), "img"))
        failures: Failures = []
        for (_, chunk), failed in zip(chunks, results, strict=True):
            failures.extend(failed)
            bar.advance(len(chunk))
    return failures


@contextlib.contextmanager
def _here(decoding: Decoding, chunks: Sequence[tuple[int, list[str]]]) -> Iterator[Iterator[Failures]]:
    with open(decoding.pixels, "r+b") as pixels, open(decoding.digests, "r+b") as digests:
        yield (_write(decoding, pixels, digests, start, paths) for start, paths in chunks)


@contextlib.contextmanager
def _in_processes(
    decoding: Decoding, chunks: Sequence[tuple[int, list[str]]], workers: int
) -> Iterator[Iterator[Failures]]:
    idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()

    def run(chunk: tuple[int, list[str]]) -> Failures:
        worker = idle.get()
        try:
            return worker.run(*chunk)
        finally:
            idle.put(worker)

    with contextlib.ExitStack() as stack:
        for _ in range(workers):
            idle.put(stack.enter_context(_Worker(decoding)))
        pool = ThreadPoolExecutor(workers)
        try:
            yield pool.map(run, chunks)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


class _Worker:
    """One child process; ends with the `with` block that it is used in."""

    def __init__(self, decoding: Decoding) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", BOOT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="ascii",
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            start_new_session=True,  # Ctrl-C goes to the parent alone, which then ends its children
        )
        self._send({"sys_path": [os.path.abspath(entry) for entry in sys.path], "decoding": decoding.to_json()})

    def __enter__(self) -> _Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            with contextlib.suppress(OSError):
                stream.close() if stream else None

    def run(self, start: int, paths: list[str]) -> Failures:
        self._send([start, paths])
        assert self._process.stdout is not None
        answer = self._process.stdout.readline()
        if not answer:
            raise MachineError(self._obituary(paths))
        result = json.loads(answer)
        if isinstance(result, str):
            raise MachineError(result)
        return [(row, reason) for row, reason in result]

    def _send(self, message: Any) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # a dead process is noticed where its answer is missing
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()

    def _obituary(self, paths: Sequence[str]) -> str:
        code = self._process.wait()
        self._errors.seek(0)
        last = self._errors.read().decode(errors="replace").strip().splitlines()[-1:]
        cause = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        words = f" ({last[0]})" if last else ""
        return (
            f"A decoding process died with {cause}{words} on one of {counted(len(paths), 'file')}, from {paths[0]} to "
            f"{paths[-1]}. Memory may be short, or a file so damaged that Pillow crashes: free "
            "memory or move that file away."
        )


def serve(decoding: Decoding, tasks: IO[str], answers: IO[str]) -> None:
    """A child's life: one task per line in, one answer per line out, until the tasks end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with open(decoding.pixels, "r+b") as pixels, open(decoding.digests, "r+b") as digests:
        for line in tasks:
            start, paths = json.loads(line)
            try:
                answer: Failures | str = _write(decoding, pixels, digests, start, paths)
            except MachineError as error:
                answer = str(error)
            answers.write(json.dumps(answer) + "\n")
            answers.flush()


def _write(decoding: Decoding, pixels: IO[bytes], digests: IO[bytes], start: int, paths: Sequence[str]) -> Failures:
    """Decode some files and write their rows.

    Plain writes, no memory map: on a full disk a write fails with an error, a map kills the process.
    """
    files = decode_many(paths, decoding.size, decoding.reading, RESIZERS[decoding.resizer])
    marks = np.concatenate([files.digests, files.contents], axis=1)
    try:
        for file, rows in ((pixels, files.pixels), (digests, marks)):
            file.seek(start * (rows.nbytes // len(rows)))
            file.write(rows.tobytes())
            file.flush()
    except OSError as error:
        raise MachineError(
            f"Cannot write decoded images to {Path(decoding.pixels).parent}: {error.strerror}. "
            "Free some space, set TRANSFERKIT_CACHE to another disk, or choose a smaller --storage."
        ) from error
    return [(start + position, reason) for position, reason in files.failures]
