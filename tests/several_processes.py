"""Runs a function in several processes that work together, as torchrun's do; they are forked, so they start at once."""

from __future__ import annotations

import os
import socket
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from transferkit.runtime.distributed import World, join


def in_processes(count: int, work: Callable[[World], Any], folder: Path) -> list[Any]:
    """What `work` returns in each process, in the order of their ranks; raises what the first of them printed."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    children = [start(rank, count, port, work, folder) for rank in range(count)]
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    logs = "".join(path.read_text() for path in sorted(folder.glob("fault-*")))
    assert codes == [0] * count, logs
    return [torch.load(folder / f"result-{rank}", weights_only=False) for rank in range(count)]


def start(rank: int, count: int, port: int, work: Callable[[World], Any], folder: Path) -> int:
    """The id of a forked process that does its part."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.environ |= {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(count),
            "LOCAL_WORLD_SIZE": str(count),
        }
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        torch.save(work(join()), folder / f"result-{rank}")
        code = 0
    except BaseException:
        (folder / f"fault-{rank}").write_text(traceback.format_exc())
    os._exit(code)
