"""A folder in which one process works at a time; the second one is told who holds it."""

from __future__ import annotations

import json
import os
import shlex
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from transferkit.runtime.errors import MachineError, TransferkitError

LOCK = ".transferkit.lock"  # held through the system, which lets go of it with the process, however that ends
HOLDER = ".transferkit.holder.json"  # beside it, because taking a lock may empty its file


@contextmanager
def lock_folder(folder: Path, shown: Path) -> Iterator[None]:
    """Inside, no other process works in the folder.

    Args:
        folder: Exists.
        shown: The folder as the person wrote it.

    Raises:
        TransferkitError: If another process holds it; says which, where, since when, and with which command.
        MachineError: If the folder cannot be written to.
    """
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise TransferkitError(
            f"{shown} is in use{_holder(folder)}. Wait until it ends, or choose another --out."
        ) from None
    except OSError as error:
        raise MachineError(
            f"Cannot lock {shown}: {error.strerror or error}. Choose another folder with --out, on a disk "
            "that this user may write to and that has locks."
        ) from error
    try:
        _write_holder(folder)
        yield
    finally:
        (folder / HOLDER).unlink(missing_ok=True)
        lock.release()


def _write_holder(folder: Path) -> None:
    program = Path(sys.argv[0])
    name = program.parent.name if program.name == "__main__.py" else program.name  # python -m transferkit
    command = shlex.join([name, *sys.argv[1:]])
    since = datetime.now(UTC).isoformat(timespec="seconds")
    facts = {"pid": os.getpid(), "host": socket.gethostname(), "command": command, "since": since}
    with suppress(OSError):  # it only serves another process's message
        (folder / HOLDER).write_text(json.dumps(facts), encoding="utf-8")


def _holder(folder: Path) -> str:
    """Words about who holds a folder; none where it cannot be told."""
    try:
        facts = json.loads((folder / HOLDER).read_text(encoding="utf-8"))
        return " by process {pid} on {host} since {since}: {command}".format(**facts)
    except (OSError, ValueError, KeyError, TypeError):
        return " by another process"
