"""Tasks of Ray: of the cluster that RAY_ADDRESS names, else of one started on this machine for the occasion."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from transferkit.executors.ray_address import joining, require_answer
from transferkit.executors.workers import Answer, Submit, Work, gpus
from transferkit.runtime import optional_libraries

IS_APART = True


def require() -> None:
    """Refuse before any work where Ray is missing, or where nobody answers at RAY_ADDRESS."""
    optional_libraries.ray()
    require_answer(os.environ.get("RAY_ADDRESS", ""))


@contextmanager
def pool(workers: int) -> Iterator[Submit]:
    """Each piece of work is a task with a CPU, and where there are GPUs with one of these."""
    ray, address = optional_libraries.ray(), os.environ.get("RAY_ADDRESS")
    is_ours = not ray.is_initialized()
    if is_ours:
        own = {} if address else {"num_cpus": workers, "num_gpus": len(gpus()), "include_dashboard": False}
        with joining(address or "local"):
            ray.init(address=address or "local", log_to_driver=False, configure_logging=False, **own)
    share = min(1.0, ray.cluster_resources().get("GPU", 0) / workers)
    remote = ray.remote(max_retries=0, num_cpus=1, num_gpus=share)(_done)
    try:
        yield lambda work: remote.remote(work).future()
    finally:
        if is_ours:
            ray.shutdown()


def _done(work: Work) -> Answer:
    return work()
