"""One task after the other in this process, as if there were no executor."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager

from transferkit.executors.workers import Answer, Submit, Work

IS_APART = False


def require() -> None:
    """Nothing is needed."""


@contextmanager
def pool(workers: int) -> Iterator[Submit]:  # noqa: ARG001 - one process is one worker
    """Work is done at once, before its future is returned."""
    yield _done


def _done(work: Work) -> Future[Answer]:
    future: Future[Answer] = Future()
    future.set_result(work())
    return future
