"""A command that torchrun has started in several processes: the first one carries it out, and the others help it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

from transferkit.runtime.errors import TransferkitError

if TYPE_CHECKING:
    from transferkit.runtime.distributed import World


def has_others() -> bool:
    """Whether this is one of several processes of one command; torch is not needed to know it."""
    return os.environ.get("WORLD_SIZE", "1") not in ("", "1")


def speaks() -> bool:
    """Whether this process says what concerns all of them: it is alone, or the first."""
    return not has_others() or os.environ.get("RANK", "0") == "0"


@contextmanager
def together() -> Iterator[None]:
    """Around a command: alone nothing happens; a process that does not lead helps the one that does, and ends.

    Raises:
        TransferkitError: If the processes do not find each other, or what this one failed with.
    """
    if not has_others():
        yield
        return
    from transferkit.runtime import distributed

    world = distributed.join()
    if not world.leads:
        end_now(help_leader(world))
    try:
        yield
    except SystemExit as end:
        if not end.code:
            distributed.order(world, distributed.CommandEnded())
            end_now(0)
        raise


def help_leader(world: World) -> int:
    """Do what the leader sends until its command has ended; the exit code."""
    from transferkit.runtime.distributed import PeerLost, follow_command

    try:
        follow_command(world)
    except PeerLost:
        return 1  # the leader says so
    except TransferkitError as error:
        raise type(error)(f"{error} (process {world.rank + 1} of {world.size})") from error
    return 0


def end_now(exit_code: int) -> NoReturn:
    """End at once: at their own end, libraries may wait for processes that are no more."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)
