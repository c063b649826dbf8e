"""What an executor promises: work goes in, a future comes out; and how a machine's cores and GPUs are shared."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from transferkit.runtime.errors import reason


@dataclass(frozen=True)
class Answer:
    """What a worker gives back of its work, whose results lie in a folder.

    Attributes:
        failure: Why it failed; empty where it did not.
        remarks: What it found that whoever waits should be told, once however many workers found it.
    """

    failure: str = ""
    remarks: tuple[str, ...] = ()


class Pending(Protocol):
    """Work that was handed over. `result` is its answer, or raises whatever tells that its worker was lost."""

    def done(self) -> bool:
        """Whether there is an answer, or nobody left to give it."""

    def result(self) -> Answer:
        """The answer."""


Work: TypeAlias = Callable[[], Answer]
Submit: TypeAlias = Callable[[Work], Pending]


def loss_in_words(error: Exception) -> str:
    """Why nobody answered; of a process of loky's that was killed, the signal, which loky tells behind many words.

    Example:
        >>> loss_in_words(RuntimeError("A worker was terminated. The exit codes of the workers are {SIGTERM(-15)}"))
        'killed by SIGTERM'
    """
    signals = re.search(r"exit codes of the workers are \{(SIG[A-Z]+)\(-\d+\)\}", str(error))
    if signals is None:
        return reason(error)
    return f"killed by {signals[1]}" + ", as where memory runs out" * (signals[1] == "SIGKILL")


def gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them; asked for without taking any."""
    import torch

    count = torch.cuda.device_count()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    return visible[:count] if len(visible) >= count > 0 and visible[0] else [str(number) for number in range(count)]


def usual_workers() -> int:
    """How many work at once unless it is said: one per GPU, else one per usable core."""
    from transferkit.runtime.processor import usable_cores

    return len(gpus()) or usable_cores()


def environment_of(worker: int, workers: int) -> dict[str, str]:
    """What a worker of this machine finds in its environment: its share of the cores, and one GPU."""
    from transferkit.runtime.processor import asked_threads, usable_cores

    threads = str(asked_threads() or max(1, usable_cores() // workers))
    devices = gpus()
    own = {"CUDA_VISIBLE_DEVICES": devices[worker % len(devices)]} if devices else {}
    return {"OMP_NUM_THREADS": threads, **own}
