"""What many runs cost together: one after the other, and on the workers of an executor."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from transferkit.executors import is_apart
from transferkit.executors.workers import environment_of, gpus, usual_workers
from transferkit.recipe import Recipe
from transferkit.runtime import machine
from transferkit.runtime.durations import duration
from transferkit.runtime.plurals import counted
from transferkit.runtime.processor import usable_cores

IN_ALL = "in all"  # beside the names of arms, which have no spaces


@dataclass(frozen=True)
class Workforce:
    """How many runs go on at once, and how fast each is beside the process that timed them.

    Attributes:
        workers: How many there are.
        at_once: How many of them get on at the same time: no more than there are GPUs, or cores for their threads.
        slowdown: How much longer a run takes where time goes inversely with threads; less where it does not.
        shared: What they share, in words; empty where that is not known.
    """

    workers: int
    at_once: int
    slowdown: float = 1.0
    shared: str = ""


def workforce(executor: str, workers: int | None, runs: int, recipe: Recipe) -> Workforce:
    """The workers of an executor, for runs like this one."""
    count = max(1, min(workers or usual_workers(), runs))
    if executor != "processes":
        return Workforce(count, count)
    runtime = machine.start(recipe.device, recipe.precision, recipe.threads)
    if runtime.device.type != "cpu":
        devices = len(gpus()) or 1
        return Workforce(count, min(count, devices), shared=f"which share {counted(devices, 'GPU')}")
    cores, threads = usable_cores(), recipe.threads or int(environment_of(0, count)["OMP_NUM_THREADS"])
    slowdown = max(1.0, (runtime.threads or 1) / threads)
    return Workforce(count, min(count, max(1, cores // threads)), slowdown, f"which share {counted(cores, 'core')}")


def seconds_of(runs: Sequence[float], at_once: int) -> float:
    """Until the last of several runs ends, if the next one begins whenever one ends.

    Example:
        >>> seconds_of([3, 1, 1, 1], 2), seconds_of([3, 1], 1)
        (3.0, 4.0)
    """
    ends = [0.0] * at_once
    for seconds in runs:
        heapq.heapreplace(ends, ends[0] + seconds)
    return max(ends)


def total_in_words(stages: Sequence[Sequence[float]], executor: str | None, staff: Workforce | None) -> str:
    """How many runs there are and how long all of them take.

    Args:
        stages: Seconds of runs; those of a stage begin when the stage before has ended.
        executor: That carries them out.
        staff: Its workers; None where runs take turns in this process.
    """
    every = [seconds for stage in stages for seconds in stage]
    text = f"{counted(len(every), 'run')}, about {duration(sum(every))} one after the other"
    if staff is None:
        return f"{text}."
    best = sum(seconds_of(stage, staff.at_once) for stage in stages)
    times = [duration(best)] if staff.slowdown == 1 else [duration(best), duration(best * staff.slowdown)]
    shared = f", {staff.shared}," if staff.shared and staff.workers > 1 else ""
    return f"{text}; on {counted(staff.workers, 'worker')} of {executor}{shared} about {' to '.join(times)}."


def in_all(
    stages: Sequence[Sequence[float]], executor: str | None, workers: int | None, recipe: Recipe
) -> dict[str, str]:
    """The total of several runs under its name; nothing where there is one alone."""
    most = max(map(len, stages))
    if sum(map(len, stages)) < 2:
        return {}
    staff = workforce(executor or "here", workers, most, recipe) if is_apart(executor) else None
    return {IN_ALL: total_in_words(stages, executor, staff)}
