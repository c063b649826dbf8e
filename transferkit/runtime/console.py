"""What a person watching a run sees: on stderr lines, bars and the live training display, on stdout results."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from textwrap import fill
from typing import TYPE_CHECKING, Any, TextIO

from transferkit.runtime.notebook_bar import NotebookBar, is_notebook

if TYPE_CHECKING:
    from rich.console import Console as RichConsole
    from rich.console import RenderableType


SECONDS_BETWEEN_WORDS = 1.0
SHOWS_DETAILS: ContextVar[bool] = ContextVar("details", default=False)  # of the command at work: -v
RESULTS_ON_STDOUT: ContextVar[bool] = ContextVar("results", default=False)  # of a command without --json; not in Python


def printable(text: str) -> str:
    """The text without control characters: a file's name must not steer the terminal.

    Example:
        >>> printable("cat\\x1b[2J.jpg")
        'cat?[2J.jpg'
    """
    return "".join(sign if sign.isprintable() or sign in "\n\t" else "?" for sign in text)


WIDEST = 100  # columns of prose; sentences are easier to read in lines


@dataclass
class Console:
    """Progress and prose. A terminal gets live bars; a file or a pipe gets plain lines.

    A run says a line per phase. What only those ask who look inside is a detail, which `verbose` shows.
    """

    quiet: bool = False
    stream: TextIO | None = None
    verbose: bool = field(default_factory=SHOWS_DETAILS.get)
    seconds_between_lines: float = 10.0
    _said: dict[str, None] = field(default_factory=dict, repr=False)
    _rich: RichConsole | None = field(default=None, repr=False)
    _display: Any = field(default=None, repr=False)  # of the bars, in a notebook

    @property
    def rich(self) -> RichConsole:
        """The rich console behind this one, made at first use."""
        if self._rich is None:
            from rich.console import Console as RichConsole

            self._rich = RichConsole(file=self.stream or sys.stderr, quiet=self.quiet, highlight=False)
        return self._rich

    @property
    def has_bars(self) -> bool:
        """Whether progress is drawn, and not only told in lines."""
        return not self.quiet and (self.rich.is_terminal or (self.stream is None and is_notebook()))

    def line(self, text: str) -> None:
        """One line of prose, printed as it is: names and paths are never read as markup."""
        if not self.quiet:
            _print_line(text, self.rich)

    def result(self, *parts: RenderableType) -> None:
        """What a command was typed for: renderables, or lines as they are.

        It goes to stdout, where it can be kept; beside --json's document, and in Python, to stderr.
        """
        rich = self._rich_of_results()
        for part in parts:
            if isinstance(part, str):
                _print_line(part, rich)
            else:
                rich.print(part, crop=False)

    def _rich_of_results(self) -> RichConsole:
        if self.stream is None and RESULTS_ON_STDOUT.get():
            return Console(self.quiet, sys.stdout).rich
        return self.rich

    def once(self, text: str) -> None:
        """Prose of some sentences, unless this console has said it before: what runs of a study share is said once."""
        if not self.quiet and text not in self._said:
            self._said[text] = None
            width = min(WIDEST, self.rich.width) if self.rich.is_terminal else WIDEST
            self.line(fill(text, width, subsequent_indent="  "))

    @property
    def remarks(self) -> tuple[str, ...]:
        """What was said once, for a console that must say it too."""
        return tuple(self._said)

    def detail(self, text: str) -> None:
        """A line for those who look inside."""
        if self.verbose:
            self.line(text)

    def show(self, renderable: RenderableType) -> None:
        """A table or another renderable of rich; a path, which is not wrapped, may be wider than the screen."""
        self.rich.print(renderable, crop=False)

    @property
    def draws_curves(self) -> bool:
        """Whether a small curve can be drawn: on a terminal that has its letters."""
        return self.has_bars and "utf" in (self.rich.encoding or "").lower()

    @contextmanager
    def progress(self, title: str, total: int, unit: str = "img", is_detail: bool = False) -> Iterator[Progress]:
        """A bar over `total` units with rate and time left; of a detail no line stays behind."""
        bar = Progress(self, title, total, unit, is_detail=is_detail)
        with bar:
            yield bar


class Progress:
    """One running bar; `advance` moves it, `words` and a small `curve` stand beside it."""

    def __init__(self, console: Console, title: str, total: int, unit: str, *, is_detail: bool = False) -> None:
        self.console, self.title, self.total, self.unit, self.is_detail = console, title, total, unit, is_detail
        self.done = 0
        self.words = self.curve = ""
        self.started = self.last_line = self.last_told = time.perf_counter()
        self._live: Any = None
        self._task: Any = None

    def __enter__(self) -> Progress:
        if self.console.has_bars:
            self._live = self._make_notebook_bar() if not self.console.rich.is_terminal else self._make_live()
            self._live.start()
            self._task = self._live.add_task(self.title, total=self.total, words="", rate="")
        return self

    def _make_notebook_bar(self) -> Any:
        bar = NotebookBar(self.console._display)
        bar.start()
        self.console._display = bar.display
        return bar

    def _make_live(self) -> Any:
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Live

        columns = ("{task.description}", "{task.fields[words]}", "{task.fields[rate]}")
        title, words, rate = (TextColumn(column, markup=False) for column in columns)
        bar = BarColumn(bar_width=12)
        left = TimeRemainingColumn(compact=True)
        return Live(title, bar, words, rate, left, console=self.console.rich, transient=True)

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
        if self.done and not self.console.quiet:
            (self.console.detail if self.is_detail else self.console.line)(self.summary())

    def advance(self, units: int, words: str | None = None) -> None:
        """Move on by `units`, and say `words` (the latest loss, say) beside the bar."""
        self.done += units
        self.words = self.words if words is None else words
        if self._live is not None:
            shown = {"words": f"{self.words}  {self.curve}".strip(), "rate": self.pace}
            self._live.update(self._task, description=self.title, completed=self.done, total=self.total, **shown)
        elif self.done < self.total and time.perf_counter() - self.last_line > self.console.seconds_between_lines:
            self.last_line = time.perf_counter()
            self.console.line(f"{self.summary()}, {self.seconds_left:.0f} s left")

    def tell(self, text: str, always: bool = False) -> None:
        """A line that stays above the bar, `always` or where its time has come.

        Details are told every second at most. Without them a bar is enough, and where there is none a line every ten
        seconds or so.
        """
        now = time.perf_counter()
        if always or (now - self.last_told >= self._seconds_between_words):
            self.last_told = self.last_line = now
            self.console.line(text)

    @property
    def _seconds_between_words(self) -> float:
        if self.console.verbose:
            return SECONDS_BETWEEN_WORDS
        return float("inf") if self._live is not None else self.console.seconds_between_lines

    @property
    def rate(self) -> float:
        """Units per second so far."""
        return self.done / max(time.perf_counter() - self.started, 1e-9)

    @property
    def pace(self) -> str:
        """The rate in words; of what takes longer than a second, how long one takes."""
        return f"{self.rate:,.0f} {self.unit}/s" if self.rate >= 1 else f"{1 / max(self.rate, 1e-9):.1f} s each"

    @property
    def seconds_left(self) -> float:
        """Seconds to the end at this rate."""
        return (self.total - self.done) / max(self.rate, 1e-9)

    def summary(self) -> str:
        """The bar in words, for a log."""
        seconds = time.perf_counter() - self.started
        words = f" | {self.words}" if self.words else ""
        done = f"{self.done:,}/{self.total:,} {self.unit}"
        return f"{self.title}: {done} in {seconds:.1f} s ({self.pace}){words}"


def _print_line(text: str, rich: RichConsole) -> None:
    rich.print(printable(text), markup=False, soft_wrap=not rich.is_terminal)


SILENT = Console(quiet=True)
