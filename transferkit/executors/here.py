"""One task after the other in this process, as if there were no executor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager

from transferkit.executors.workers import Submit

IS_APART = False


def require() -> None:
    """Nothing is needed."""


@contextmanager
def pool(workers: int) -> Iterator[Submit]:  # noqa: ARG001 - one process is one worker
    """Work is done at once, before its future is returned."""
    yield _done


def _done(work: Callable[[], str]) -> Future[str]:
    future: Future[str] = Future()
    future.set_result(work())
    return future
