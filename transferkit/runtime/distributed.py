"""Several processes that carry out one command together: the first one leads, the others do what it sends them."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeAlias, TypeVar, cast

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from torch import Tensor

from transferkit.runtime.errors import MachineError, TransferkitError

Value = TypeVar("Value")
Array: TypeAlias = npt.NDArray[Any]

STEP_TIMEOUT = timedelta(minutes=30)  # of a step's sums; whoever is later than that will not come
TASK_TIMEOUT = timedelta(days=30)  # of waiting for work: whoever leads may solve and decode for hours
WORDS_OF_LIBRARIES = ("gloo", "nccl", "connection closed", "connection reset", "broken pipe", "socket", "tcpstore")


@dataclass(frozen=True)
class World:
    """The processes that work together, and which of them this one is.

    Attributes:
        rank: Of this process, from 0; 0 leads.
        size: How many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_shared(self) -> bool:
        """Whether there are others."""
        return self.size > 1

    @property
    def leads(self) -> bool:
        """Whether this process alone writes, prints, solves and opens the test set."""
        return self.rank == 0

    def part(self, count: int) -> slice:
        """Which of `count` things in a row are this process's; every one is somebody's, none is anybody else's.

        Example:
            >>> [World(rank, 3).part(101) for rank in range(3)]
            [slice(0, 33, None), slice(33, 67, None), slice(67, 101, None)]
        """
        return slice(self.rank * count // self.size, (self.rank + 1) * count // self.size)

    def sum_begun(self, total: Tensor) -> Callable[[], object]:
        """Begin to replace a tensor by its sum over all processes, and give what waits for it."""
        if not self.is_shared:
            return lambda: None
        work = dist.all_reduce(total, async_op=True)
        return cast(Callable[[], object], work.wait)

    @torch.no_grad()
    def average_(self, tensors: Iterable[Tensor]) -> None:
        """Replace floating-point tensors by their means over all processes, all in one message."""
        chosen = list(tensors)
        if not self.is_shared or not chosen:
            return
        together = torch.cat([tensor.detach().reshape(-1).float() for tensor in chosen])
        dist.all_reduce(together)
        means = torch.split(together / self.size, [tensor.numel() for tensor in chosen])
        for tensor, mean in zip(chosen, means, strict=True):
            tensor.copy_(mean.view_as(tensor))

    def joined(self, part: Array) -> Array:
        """The parts of all processes one after the other, the same everywhere."""
        if not self.is_shared:
            return part
        parts: list[Any] = [None] * self.size
        dist.all_gather_object(parts, part, group=_waiting_group())
        return np.concatenate(parts)

    def from_leader(self, value: Value) -> Value:
        """The leader's value, in every process."""
        if not self.is_shared:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0, group=_waiting_group())
        return values[0]


ALONE = World()

# The group by which the leader's orders come: apart from that of the steps, because it may be silent for long.
_groups: dict[str, Any] = {}


def _waiting_group() -> Any:
    return _groups["waiting"]


HOW_TO_LAUNCH = "start the processes with torchrun, which sets all of its variables, or unset WORLD_SIZE."


def launched() -> World:
    """The processes that a launcher such as torchrun has started, by its environment variables.

    Raises:
        TransferkitError: If these contradict each other.
    """
    size = _from_environment("WORLD_SIZE", 1)
    if size == 1:
        return ALONE
    if size < 1:
        raise TransferkitError(f"WORLD_SIZE is {size}. Expected at least 1: {HOW_TO_LAUNCH}")
    rank = _from_environment("RANK", -1)
    if not 0 <= rank < size:
        raise TransferkitError(
            f"WORLD_SIZE is {size} and RANK is {os.environ.get('RANK', 'not set')}. Expected 0..{size - 1}: "
            f"{HOW_TO_LAUNCH}"
        )
    return World(rank, size)


def _from_environment(name: str, otherwise: int) -> int:
    text = os.environ.get(name) or str(otherwise)
    try:
        return int(text)
    except ValueError:
        raise TransferkitError(f"{name} is {text!r}. Expected a number, as torchrun sets it.") from None


def local_rank() -> int:
    """Which of the processes on this machine this one is; it takes the GPU of this number."""
    return _from_environment("LOCAL_RANK", 0)


def join() -> World:
    """Meet the other processes that were started with this one; at once where they have met, or where it is alone.

    Raises:
        TransferkitError: If nothing says where they meet.
        MachineError: If they do not come.
    """
    world = launched()
    if not world.is_shared or _groups:
        return world
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(local_rank() % torch.cuda.device_count())
    try:
        dist.init_process_group(backend, timeout=STEP_TIMEOUT)
        _groups["waiting"] = dist.new_group(backend="gloo", timeout=TASK_TIMEOUT)
    except ValueError as error:  # of a variable that is missing or wrong
        raise TransferkitError(
            f"WORLD_SIZE is {world.size}, and these processes cannot meet ({first_line(error)}): {HOW_TO_LAUNCH}"
        ) from error
    except RuntimeError as error:
        raise MachineError(f"The {world.size} processes do not find each other: {first_line(error)}.") from error
    return world


GO_ON = (
    "The last complete epoch that was saved is kept: continue with the same command and --resume, with as many "
    "processes as you like."
)


class PeerLost(MachineError):
    """Another process of this work has ended before the work was done."""


def lost(why: str) -> PeerLost:
    """That another process has ended, and how to go on."""
    return PeerLost(f"Another process of this run has ended, so this one cannot go on ({why}). {GO_ON}")


@contextmanager
def telling_lost_peers() -> Iterator[None]:
    """Inside, what a communication library says of a connection that is gone becomes a message.

    Raises:
        PeerLost: In place of that error.
    """
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        if not _groups or not any(words in str(error).lower() for words in WORDS_OF_LIBRARIES):
            raise
        raise lost(first_line(error)) from error


def first_line(error: Exception) -> str:
    """The first line of what a library says, without the place in its own code."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return line.rpartition("] ")[2].rstrip(".") if line.startswith("[") and "] " in line else line.rstrip(".")


# ----------------------------------------------------------------------------------------------- leader and followers


class RunEnded:
    """The leader has ended a run."""


class CommandEnded:
    """The leader needs nobody any more."""


Task: TypeAlias = Callable[[World], None]
Order: TypeAlias = Task | RunEnded | CommandEnded


def order(world: World, task: Order) -> None:
    """Send all followers what to do next."""
    world.from_leader(task)


def follow(world: World) -> RunEnded | CommandEnded:
    """Do what the leader sends until it says that a run, or all of its work, has ended; which of these."""
    while True:
        task: Order = world.from_leader(CommandEnded())
        if isinstance(task, RunEnded | CommandEnded):
            return task
        task(world)


@contextmanager
def leading(world: World) -> Iterator[None]:
    """Inside, the leader carries out a run; its end is told to the others.

    Raises:
        PeerLost: If one of them has ended before.
    """
    with telling_lost_peers():
        yield
        if world.is_shared:
            order(world, RunEnded())


def follow_run(world: World) -> None:
    """Do what the leader sends until its run has ended."""
    with telling_lost_peers():
        follow(world)


def follow_command(world: World) -> None:
    """Do what the leader sends until its command has ended."""
    with telling_lost_peers():
        while isinstance(follow(world), RunEnded):
            pass


def packed(value: object) -> bytes:
    """A value with tensors as bytes, each tensor once."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def unpacked(content: bytes, device: torch.device) -> Any:
    """The same value, with what lay on the leader's GPU on this process's own."""
    places = {f"cuda:{number}": str(device) for number in range(torch.cuda.device_count())}
    return torch.load(io.BytesIO(content), map_location=places, weights_only=False)
