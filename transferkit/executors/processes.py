"""Processes of this machine, which share its cores and take a GPU each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from transferkit.executors.single_process import SingleProcess
from transferkit.executors.workers import Pending, Submit, Work, environment_of

IS_APART = True


def require() -> None:
    """Nothing is needed."""


@contextmanager
def pool(workers: int) -> Iterator[Submit]:
    """Work goes to a process that is idle; one that was lost costs its own work alone."""
    with ExitStack() as stack:
        staff = [SingleProcess(environment_of(number, workers)) for number in range(workers)]
        for member in staff:
            stack.callback(member.stop)

        def submit(work: Work) -> Pending:
            return next(member for member in staff if member.is_idle).submit(work)

        yield submit
