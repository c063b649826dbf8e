"""SIGTERM, which schedulers and containers send some seconds before they kill, is heeded as Ctrl-C is."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from transferkit.runtime.errors import Stopped

EXIT_CODE = 128 + signal.SIGTERM  # 143, as shells give it
_received: list[int] = []


@contextmanager
def heeding_sigterm() -> Iterator[None]:
    """Inside, SIGTERM stops this process where Ctrl-C would; processes that it forks end at once, as before."""
    _received.clear()
    program = os.getpid()

    def stop(number: int, _: object) -> NoReturn:
        if os.getpid() != program:
            os._exit(128 + number)
        _received.append(number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def exit_code_of(code: int) -> int:
    """The exit code of an error: that of SIGTERM where it was what stopped the work."""
    return EXIT_CODE if _received and code == Stopped.exit_code else code
