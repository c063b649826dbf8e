"""Tasks for the tests of executors: what a worker in another process does, without a network."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from transferkit.executors import Task
from transferkit.runtime.console import Console
from transferkit.runtime.errors import TransferkitError


def write(place: Path, console: Console) -> None:
    """The plainest task."""
    console.line(f"writing {place.name}")
    place.write_text(place.name)


def fail(place: Path, console: Console) -> None:
    """A task whose input is wrong."""
    console.line("reading the images")
    raise TransferkitError(f"{place.name} has no images.")


def remark(place: Path, console: Console) -> None:
    """A task that finds what others find too, and fails over it in one place."""
    console.once("TK011 No val images.")
    if place.name == "bad":
        raise TransferkitError("no val, no choice")


def die_once(place: Path, console: Console) -> None:
    """A task whose first worker is killed in the middle."""
    half = place.with_suffix(".half")
    if half.exists():
        place.write_text(half.read_text() + "b")
        return
    half.write_text("a")
    console.line("half done")
    os.kill(os.getpid(), signal.SIGKILL)


def die(place: Path, _: Console) -> None:
    """A task that costs every worker its life."""
    with place.with_suffix(".tries").open("a") as file:
        file.write("x")
    os.kill(os.getpid(), signal.SIGKILL)


def wait_for_other(place: Path, other: Path, _: Console) -> None:
    """A task that ends only if another one runs at the same time."""
    place.write_text("here")
    until = time.monotonic() + 30
    while not other.exists():
        if time.monotonic() > until:
            raise TransferkitError("nobody came")
        time.sleep(0.02)


def wait(place: Path, _: Console) -> None:
    """A task that takes long."""
    place.with_suffix(".pid").write_text(str(os.getpid()))
    time.sleep(120)


def task(call: object, place: Path, *arguments: object) -> Task:
    """The task of leaving one file, which has its name."""
    return Task(place.name, call, (place, *arguments), place)  # type: ignore[arg-type]


if __name__ == "__main__":  # a command that is killed while its worker is busy
    from transferkit.executors import carry_out
    from transferkit.runtime.console import SILENT

    folder = Path(sys.argv[1])
    from scripted_work import wait as long_work  # by its module's name, so that the worker finds it

    carry_out([task(long_work, folder / "long")], "processes", 1, folder, SILENT)
