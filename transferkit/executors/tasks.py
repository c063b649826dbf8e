"""A piece of independent work, and how it is done: beside the person who watches, or apart, with a log."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transferkit.executors.workers import Answer
from transferkit.runtime.console import Console
from transferkit.runtime.errors import TransferkitError, reason

SECONDS_BETWEEN_LINES = 2.0  # of a log that a table is made from


@dataclass(frozen=True)
class Task:
    """Independent work that leaves what it makes in a place, and goes on from what it finds there.

    Attributes:
        name: For people; no two of one team are alike.
        call: A module's function, which takes the arguments and then a console.
        arguments: What can be sent to another process.
        place: A file or folder of its own.
        is_finished: Whether nothing is left to do.
    """

    name: str
    call: Callable[..., object]
    arguments: tuple[Any, ...]
    place: Path
    is_finished: bool = False


def do(task: Task, console: Console) -> Answer:
    """Do a task beside the person who watches, who reads its remarks as they come."""
    try:
        task.call(*task.arguments, console)
    except Exception as error:  # one task's fault must not cost the others their hours
        return Answer(reason(error))
    return Answer()


def do_apart(task: Task, log: Path) -> Answer:
    """Do a task where nobody watches: what it says goes to its log, which a fault of ours ends as a traceback."""
    with log.open("a", encoding="utf-8", buffering=1) as file, redirect_stderr(file):
        console = Console(stream=file, seconds_between_lines=SECONDS_BETWEEN_LINES)
        try:
            task.call(*task.arguments, console)
        except Exception as error:
            if not isinstance(error, TransferkitError):
                traceback.print_exc(file=file)
            return Answer(reason(error), console.remarks)
    return Answer(remarks=console.remarks)


def last_line(log: Path, longest: int = 1000) -> str:
    """What a task said last; nothing where it has not spoken."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - longest))
            lines = file.read().decode("utf-8", "replace").split("\n")
    except OSError:
        return ""
    return next((line for line in reversed(lines) if line.strip()), "")
