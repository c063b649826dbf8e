"""Counters and times in the text format that Prometheus reads (version 0.0.4)."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate
from threading import Lock

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)  # as Prometheus' clients have them
MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Meters:
    """What was asked and answered since the start; several threads count."""

    def __init__(self) -> None:
        self.started = time.time()
        self._lock = Lock()
        self._requests: Counter[tuple[str, int]] = Counter()
        self._images: Counter[str] = Counter()
        self._seconds = [0] * (len(SECONDS) + 1)
        self._total_seconds = 0.0
        self._batches = self._batched = 0

    def request(self, path: str, status: int, seconds: float) -> None:
        """One request that was answered."""
        with self._lock:
            self._requests[path, status] += 1
            if path == "/predict":
                self._seconds[bisect_left(SECONDS, seconds)] += 1
                self._total_seconds += seconds

    def image(self, outcome: str) -> None:
        """One image: answered, unknown or unreadable."""
        with self._lock:
            self._images[outcome] += 1

    def batch(self, images: int) -> None:
        """One forward pass."""
        with self._lock:
            self._batches += 1
            self._batched += images

    @property
    def requests(self) -> int:
        """Answered so far."""
        return self._requests.total()

    def text(self, waiting: int) -> str:
        """All of it, with the images in work now."""
        with self._lock:
            return "\n".join(self._lines(waiting)) + "\n"

    def _lines(self, waiting: int) -> Iterator[str]:
        yield from _head("requests_total", "counter", "Requests answered.")
        for (path, status), count in sorted(self._requests.items()):
            yield f'transferkit_requests_total{{path="{path}",status="{status}"}} {count}'
        yield from _head("images_total", "counter", "Images answered, unknown or unreadable.")
        for outcome in ("answered", "unknown", "unreadable"):
            yield f'transferkit_images_total{{outcome="{outcome}"}} {self._images[outcome]}'
        yield from self._histogram()
        yield from _head("batches_total", "counter", "Forward passes.")
        yield f"transferkit_batches_total {self._batches}"
        yield from _head("batched_images_total", "counter", "Images in them.")
        yield f"transferkit_batched_images_total {self._batched}"
        yield from _head("images_waiting", "gauge", "Images in work now.")
        yield f"transferkit_images_waiting {waiting}"
        yield from _head("start_time_seconds", "gauge", "When the server started, Unix time.")
        yield f"transferkit_start_time_seconds {self.started:.0f}"

    def _histogram(self) -> Iterator[str]:
        name = "predict_seconds"
        yield from _head(name, "histogram", "From the first byte of a request to its answer.")
        for limit, count in zip((*map(str, SECONDS), "+Inf"), accumulate(self._seconds), strict=True):
            yield f'transferkit_{name}_bucket{{le="{limit}"}} {count}'
        yield f"transferkit_{name}_sum {self._total_seconds:.6f}"
        yield f"transferkit_{name}_count {sum(self._seconds)}"


def _head(name: str, kind: str, words: str) -> Iterator[str]:
    yield f"# HELP transferkit_{name} {words}"
    yield f"# TYPE transferkit_{name} {kind}"
