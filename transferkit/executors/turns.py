"""Tasks take turns at the workers of an executor; what a lost worker held is handed out again."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Protocol

from transferkit.executors.tasks import Task, do, do_apart
from transferkit.executors.workers import Answer, Pending, Submit, loss_in_words
from transferkit.runtime import folders
from transferkit.runtime.console import Console
from transferkit.runtime.errors import TransferkitError

LIVES = 3  # workers that a task may cost before it counts as the cause
SECONDS_BETWEEN_LOOKS = 0.05
NO_FILE_SIGNS = re.compile(r"[^\w.-]+")


class Watch(Protocol):
    """Who is told of every turn."""

    def start(self, task: Task, number: int) -> None:
        """A task is handed out."""

    def skip(self, task: Task, number: int) -> None:
        """A task was finished before."""

    def lose(self, task: Task, why: str) -> None:
        """Its worker was lost; it waits again."""

    def end(self, task: Task, why: str) -> None:
        """It is done, or failed for a reason."""

    def look(self) -> None:
        """Time has passed."""


@dataclass(frozen=True)
class Team:
    """An executor, and how it is used.

    Attributes:
        executor: A module of the menu.
        workers: How many tasks are with it at once.
        logs: Where each task's words go, unless the executor works here, where the console takes them.
        console: The person's own.
    """

    executor: ModuleType
    workers: int
    logs: Path
    console: Console

    def log_of(self, task: Task) -> Path:
        """The file that a task's words go to."""
        return self.logs / f"{NO_FILE_SIGNS.sub('-', task.name)}.log"

    def hand_out(self, task: Task, submit: Submit) -> Pending:
        """Give a task to a worker."""
        if self.executor.IS_APART:
            self.logs.mkdir(exist_ok=True)
            self.log_of(task).touch()
            folders.record_written([self.log_of(task)])  # now, because this process may be killed
            return submit(partial(do_apart, task, self.log_of(task)))
        self.put_away(task, "")  # what an earlier command left of it, under another executor
        return submit(partial(do, task, self.console))

    def put_away(self, task: Task, why: str) -> None:
        """The log of a task that failed is kept beside the results, any other is gone, however old."""
        if not why:
            folders.discard_file(self.log_of(task))

    def remove_empty_folder(self) -> None:
        """Remove the folder of logs where none is kept."""
        with suppress(OSError):  # a folder that still holds something, or none
            self.logs.rmdir()


@dataclass
class _Turns:
    tasks: Sequence[Task]
    team: Team
    watch: Watch
    waiting: deque[Task] = field(default_factory=deque)
    pending: dict[Pending, Task] = field(default_factory=dict)
    losses: dict[str, int] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def take(self, submit: Submit) -> None:
        while self.waiting or self.pending:
            self.fill(submit)
            self.collect()
            self.watch.look()
            if self.pending:
                time.sleep(SECONDS_BETWEEN_LOOKS)

    def fill(self, submit: Submit) -> None:
        while self.waiting and len(self.pending) < self.team.workers:
            task = self.waiting.popleft()
            number = self.tasks.index(task) + 1
            if task.is_finished:
                self.team.put_away(task, "")
                self.watch.skip(task, number)
                continue
            self.watch.start(task, number)
            try:
                folders.record(task.place)
                self.pending[self.team.hand_out(task, submit)] = task
            except TransferkitError as error:
                self.end(task, Answer(str(error)))

    def collect(self) -> None:
        for job in [job for job in self.pending if job.done()]:
            task = self.pending.pop(job)
            try:
                self.end(task, job.result())
            except Exception as error:  # whatever an executor raises: nobody answered
                self.lose(task, loss_in_words(error))

    def lose(self, task: Task, why: str) -> None:
        self.losses[task.name] = self.losses.get(task.name, 0) + 1
        if self.losses[task.name] < LIVES:
            self.waiting.appendleft(task)
            self.watch.lose(task, why)
        else:
            self.end(task, Answer(f"{LIVES} workers were lost at it, so it was given up. The last one: {why}"))

    def end(self, task: Task, answer: Answer) -> None:
        self.team.put_away(task, answer.failure)
        self.watch.end(task, answer.failure)
        for remark in answer.remarks:
            self.team.console.once(remark)
        if answer.failure:
            self.failures[task.name] = answer.failure


def work_through(tasks: Sequence[Task], team: Team, watch: Watch) -> dict[str, str]:
    """Do all tasks with so many at once; why each that failed did, by name.

    Raises:
        TransferkitError: If the executor cannot work here.
    """
    turns = _Turns(tasks, team, watch, waiting=deque(tasks))
    try:
        with team.executor.pool(team.workers) as submit:
            turns.take(submit)
    finally:
        team.remove_empty_folder()
    return turns.failures
