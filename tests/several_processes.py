"""Runs functions and commands in several processes that work together, as under torchrun; forked, to start at once."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from transferkit.runtime.distributed import World, join


@dataclass(frozen=True)
class Ended:
    """How the processes ended, in the order of their ranks.

    Attributes:
        codes: Exit codes; negative for the signal that killed one.
        stderr: What each printed there.
        seconds: From the end of the first one to the end of the last one.
    """

    codes: list[int]
    stderr: list[str]
    seconds: float


def in_processes(count: int, work: Callable[[World], Any], folder: Path) -> list[Any]:
    """What `work` returns in each process."""

    def saved(rank: int) -> int:
        torch.save(work(join()), folder / f"result-{rank}")
        return 0

    ended = wait_for(forked(count, saved, folder), folder)
    assert ended.codes == [0] * count, "".join(ended.stderr)
    return [torch.load(folder / f"result-{rank}", weights_only=False) for rank in range(count)]


def command(count: int, typed: list[str], folder: Path, before: Callable[[int], None] | None = None) -> Ended:
    """A command in each of several processes, as `torchrun -m transferkit ...` starts it; `before` prepares each."""
    from transferkit.cli.app import main

    def carried_out(rank: int) -> int:
        sys.argv = ["transferkit", *typed]
        if before:
            before(rank)
        try:
            main()
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else int(end.code is not None)
        return 0

    return wait_for(forked(count, carried_out, folder), folder)


def forked(count: int, work: Callable[[int], int], folder: Path) -> list[int]:
    """The ids of processes that work in a folder, with the environment that a launcher gives them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    places = {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [start(rank, places, work, folder) for rank in range(count)]


def start(rank: int, places: dict[str, str], work: Callable[[int], int], folder: Path) -> int:
    """The id of a forked process that does its part; what it prints goes to files."""
    if child := os.fork():
        return child
    code = 1
    try:
        signal.alarm(120)  # whatever hangs ends
        for number, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(folder / f"{name}-{rank}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        os.environ.update(places, RANK=str(rank), LOCAL_RANK=str(rank))
        os.chdir(folder)
        code = work(rank)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def wait_for(children: list[int], folder: Path) -> Ended:
    """The end of all of them."""
    codes, ends = {}, []
    while len(codes) < len(children):
        child, status = os.wait()
        if child in children:
            codes[child] = os.waitstatus_to_exitcode(status)
            ends.append(time.monotonic())
    printed = [(folder / f"stderr-{rank}").read_text(encoding="utf-8") for rank in range(len(children))]
    return Ended([codes[child] for child in children], printed, ends[-1] - ends[0])
