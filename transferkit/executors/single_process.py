"""A process that does one piece of work at a time, and is started again where it was lost."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

from transferkit.executors.workers import Answer, Work

SECONDS_BETWEEN_LOOKS = 1.0


def end_with_parent(parent: int) -> None:
    """Let this process end soon after its parent, however that ends: nobody waits for its work then."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(SECONDS_BETWEEN_LOOKS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


class SingleProcess:
    """A pool of one: a pool of several is lost as a whole with any of its processes.

    It is joblib's loky, which needs no `if __name__ == "__main__"` in a user's script.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = environment
        self._pool: Any = None
        self._last: Future[Answer] | None = None

    @property
    def is_idle(self) -> bool:
        """Whether it waits for work."""
        return self._last is None or self._last.done()

    def submit(self, work: Work) -> Future[Answer]:
        """Hand over work; a lost process is replaced first."""
        if self._pool is None or (self._last is not None and self._last.exception() is not None):
            self.stop()
            self._pool = self._start()
        self._last = self._pool.submit(work)
        return self._last

    def _start(self) -> Any:
        from joblib.externals.loky import ProcessPoolExecutor

        return ProcessPoolExecutor(
            max_workers=1, env=dict(self.environment), initializer=end_with_parent, initargs=(os.getpid(),)
        )

    def stop(self) -> None:
        """End the process, whatever it does."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, kill_workers=True)
