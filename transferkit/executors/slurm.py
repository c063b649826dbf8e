"""Jobs of Slurm through submitit; sbatch's own variables (SBATCH_PARTITION, SBATCH_GPUS ...) say which machines."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from transferkit.executors.requeued import Requeued
from transferkit.executors.workers import Submit, Work
from transferkit.runtime import optional_libraries
from transferkit.runtime.folders import ensure_folder
from transferkit.runtime.processor import asked_threads

IS_APART = True
CLUSTER = "slurm"  # submitit's `local` runs jobs as processes of this machine


def require() -> None:
    """Refuse before any work where submitit or Slurm is missing."""
    optional_libraries.submitit(CLUSTER)


@contextmanager
def pool(workers: int) -> Iterator[Submit]:  # noqa: ARG001 - the team keeps so many jobs waiting or running
    """Each piece of work is a job; one that Slurm stops for another's sake is queued again and goes on."""
    from transferkit.runtime.cache_place import cache_folder

    submitit = optional_libraries.submitit(CLUSTER)
    notes = tempfile.mkdtemp(dir=ensure_folder(cache_folder() / "slurm"))  # the cache is seen by all machines
    executor = submitit.AutoExecutor(folder=notes, cluster=CLUSTER, slurm_max_num_timeout=1000)
    threads = asked_threads() or 4
    executor.update_parameters(name="transferkit", timeout_min=240, cpus_per_task=threads)
    jobs: list[Any] = []

    def submit(work: Work) -> Any:
        jobs.append(executor.submit(Requeued(work)))
        return jobs[-1]

    try:
        yield submit
    finally:
        for job in jobs:
            job.cancel(check=False)
        shutil.rmtree(notes, ignore_errors=True)
