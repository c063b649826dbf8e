"""Starts several processes of one command on this machine, as torchrun does, and says which one failed and how."""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from transferkit.runtime.errors import MachineError, Stopped, TransferkitError
from transferkit.runtime.processor import asked_threads, usable_cores
from transferkit.runtime.records import read_record, write_record

MEMBER = "transferkit.cli.member"  # what each process runs
KINDS = {kind.exit_code: kind for kind in (TransferkitError, MachineError, Stopped)}


@dataclass(frozen=True)
class SharedRun:
    """A run that several processes carry out together.

    Attributes:
        recipe: In YAML.
        out: The run's folder.
        command: As it was typed.
        quiet: Whether nothing is told.
    """

    recipe: str
    out: str
    overwrite: bool
    resume: bool
    command: str
    quiet: bool


@dataclass(frozen=True)
class Fault:
    """What a process failed with."""

    message: str
    exit_code: int


def start(count: int, device: str, work: SharedRun) -> None:
    """Let so many processes on this machine carry out some work together, and wait for their end.

    Args:
        count: Of processes.
        device: As the recipe asks for it.
        work: What `transferkit.cli.member` does.

    Raises:
        TransferkitError: If there are fewer GPUs than that; or what a process failed with.
        MachineError: If a process was killed; says which one and by what.
    """
    require_devices(count, device)
    with tempfile.TemporaryDirectory(prefix="transferkit-") as folder, own_threads(count):
        path = Path(folder) / "work.json"
        write_record(path, work)
        if failure := _failure_of(count, path):
            raise _told(path.parent) or MachineError(failure)


def require_devices(count: int, device: str) -> None:
    """Refuse more processes than there are GPUs, where these compute.

    Raises:
        TransferkitError: Says how many there are.
    """
    gpus = torch.cuda.device_count() if device in ("auto", "cuda") else 0
    if gpus and count > gpus:
        raise TransferkitError(
            f"--devices {count} asks for {count} GPUs, and this machine has {gpus}. Use --devices {gpus}, or --device "
            "cpu for processes that share the CPU."
        )


@contextmanager
def own_threads(count: int) -> Iterator[None]:
    """Inside, processes that are started share the cores evenly, unless OMP_NUM_THREADS says otherwise."""
    if asked_threads():
        yield
        return
    os.environ["OMP_NUM_THREADS"] = str(max(1, usable_cores() // count))
    try:
        yield
    finally:
        del os.environ["OMP_NUM_THREADS"]


def _failure_of(count: int, path: Path) -> str:
    """Start the processes and wait; what went wrong, in words, if something did."""
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    for name in [name for name in logging.root.manager.loggerDict if name.startswith("torch.distributed.elastic")]:
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what they say is told below, in one sentence
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=path.parent.name,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        max_restarts=0,
    )
    try:
        elastic_launch(config, sys.executable)("-m", MEMBER, str(path))
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        return f"{_ending(rank, count, failure.exitcode)} The others were stopped. {CONTINUE}"
    except SignalException as error:
        if error.sigval == signal.SIGINT:
            raise KeyboardInterrupt from None
        return f"Stopped by {error.sigval.name}, with all {count} processes. {CONTINUE}"
    return ""


CONTINUE = "Continue with the same command and --resume: the last complete epoch that was saved is kept."


def _ending(rank: int, count: int, exit_code: int) -> str:
    """How a process ended, in a sentence.

    Example:
        >>> _ending(1, 2, -9), _ending(0, 2, 1)
        ('Process 2 of 2 was killed (SIGKILL).', 'Process 1 of 2 ended with exit code 1.')
    """
    name = f"Process {rank + 1} of {count}"
    if exit_code < 0:
        return f"{name} was killed ({signal.Signals(-exit_code).name})."
    return f"{name} ended with exit code {exit_code}."


# ------------------------------------------------------------------------------------------- what a process failed with


def tell(path: Path, rank: int, error: TransferkitError) -> None:
    """Leave what a process failed with beside its work, for the one that started it."""
    write_record(path.with_name(f"fault-{rank:05}.json"), Fault(str(error), error.exit_code))


def _told(folder: Path) -> TransferkitError | None:
    """The error that the first of the processes left."""
    faults = [read_record(path, Fault) for path in sorted(folder.glob("fault-*.json"))]
    return KINDS[faults[0].exit_code](faults[0].message) if faults else None
