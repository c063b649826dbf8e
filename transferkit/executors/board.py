"""What a person sees of many tasks: one table that lives on a terminal, a line per turn anywhere else."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from transferkit.executors.tasks import Task, last_line
from transferkit.runtime.console import Console, printable
from transferkit.runtime.durations import duration

if TYPE_CHECKING:
    from rich.table import Table

Status = Literal["waiting", "running", "finished", "failed"]
ORDER: tuple[Status, ...] = ("failed", "running", "waiting", "finished")  # where the terminal is too low for all
FINISHED_EARLIER = "finished earlier, not done again"


class Lines:
    """Tasks that speak for themselves: a heading before each."""

    def __init__(self, console: Console, count: int) -> None:
        self.console, self.count = console, count

    def start(self, task: Task, number: int) -> None:
        """The heading."""
        self.console.line(f"{task.name} ({number} of {self.count})")

    def skip(self, task: Task, number: int) -> None:
        """The heading, and why nothing follows."""
        self.start(task, number)
        self.console.line(FINISHED_EARLIER)

    def lose(self, task: Task, why: str) -> None:
        """A lost worker."""
        self.console.line(f"{task.name}: its worker was lost, so it is tried again ({why})")

    def end(self, task: Task, why: str) -> None:
        """A failure."""
        if why:
            self.console.line(f"failed: {task.name}: {why}")

    def look(self) -> None:
        """Nothing moves."""


@dataclass
class _Row:
    name: str
    log: Path
    status: Status = "waiting"
    started: float = 0.0
    seconds: float = 0.0
    words: str = ""

    def refresh(self) -> None:
        if self.status == "running":
            self.seconds = time.perf_counter() - self.started
            self.words = last_line(self.log) or self.words

    @property
    def cells(self) -> tuple[str, ...]:
        return printable(self.name), self.status, duration(self.seconds) if self.started else "", printable(self.words)


class Board:
    """All tasks of a team in one table; where no table can live, lines say what changes."""

    def __init__(self, console: Console, tasks: Sequence[Task], log_of: Callable[[Task], Path]) -> None:
        self.console = console
        self.lines = Lines(console, len(tasks))
        self.rows = {task.name: _Row(task.name, log_of(task)) for task in tasks}
        self._live: Any = None

    def __enter__(self) -> Board:
        if self.console.has_bars and self.console.rich.is_terminal:
            from rich.live import Live

            self._live = Live(console=self.console.rich, get_renderable=self.table, refresh_per_second=2)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def start(self, task: Task, number: int) -> None:
        """A task runs."""
        self._set(task, "running", "")
        if self._live is None:
            self.lines.start(task, number)

    def skip(self, task: Task, number: int) -> None:
        """A task was finished before."""
        self._set(task, "finished", FINISHED_EARLIER)
        if self._live is None:
            self.lines.skip(task, number)

    def lose(self, task: Task, why: str) -> None:
        """A lost worker's task waits again."""
        self._set(task, "waiting", f"its worker was lost ({why})")
        if self._live is None:
            self.lines.lose(task, why)

    def end(self, task: Task, why: str) -> None:
        """A task is done, or failed."""
        self._set(task, "failed" if why else "finished", why)
        if self._live is not None:
            return
        if why:
            self.lines.end(task, why)
        else:
            self.console.line(f"{task.name}: finished in {duration(self.rows[task.name].seconds)}")

    def look(self) -> None:
        """Time runs for what is running."""
        for row in self.rows.values():
            row.refresh()

    def _set(self, task: Task, status: Status, words: str) -> None:
        row = self.rows[task.name]
        row.refresh()
        row.status, row.words = status, words
        if status == "running":
            row.started = time.perf_counter()

    def table(self) -> Table:
        """As many rows as the terminal has lines for, those that matter most first, and how many there are of each."""
        from rich.table import Table

        table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0), caption=self.counts())
        table.expand = True
        table.add_column("arm", no_wrap=True, overflow="ellipsis", max_width=34)
        table.add_column("", no_wrap=True)
        table.add_column("time", no_wrap=True, justify="right")
        table.add_column("last words", no_wrap=True, overflow="ellipsis", ratio=1)
        rows, room = list(self.rows.values()), max(3, self.console.rich.height - 4)
        if len(rows) > room:
            rows = sorted(rows, key=lambda row: ORDER.index(row.status))[:room]
        for row in rows:
            table.add_row(*row.cells)
        return table

    def counts(self) -> str:
        """How many tasks are in which state."""
        states = [row.status for row in self.rows.values()]
        return ", ".join(f"{states.count(status)} {status}" for status in ORDER if status in states)
