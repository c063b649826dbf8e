"""A progress bar in a notebook: one output that is drawn over and over, since rich takes a notebook for no terminal."""

from __future__ import annotations

import html
import sys
import time
from dataclasses import dataclass
from typing import Any

SECONDS_BETWEEN_DRAWINGS = 0.2
EMPTY = '<span class="transferkit-bar"></span>'


def is_notebook() -> bool:
    """Whether this program runs in a kernel that draws HTML, as Jupyter's does; imports nothing."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return type(shell).__name__ == "ZMQInteractiveShell"


@dataclass
class NotebookBar:
    """What `console.Progress` asks of rich's live bar, on one display of IPython that all bars of a console share.

    Attributes:
        display: Of an earlier bar; None: made when this one starts.
    """

    display: Any = None
    last_drawn: float = 0.0

    def start(self) -> None:
        """Take the place on the page."""
        from IPython.display import HTML, display

        if self.display is None:
            self.display = display(HTML(EMPTY), display_id=True)

    def stop(self) -> None:
        """Leave the place empty, as the bar on a terminal does."""
        self._draw(EMPTY)

    def add_task(self, description: str, total: int, words: str, rate: str) -> int:
        """Draw the bar at its beginning."""
        self._draw(bar_html(description, 0, total, words, rate))
        return 0

    def update(self, _task: int, *, description: str, completed: int, total: int, words: str, rate: str) -> None:
        """Draw it where the work stands now, a few times a second at most."""
        if completed >= total or time.perf_counter() - self.last_drawn >= SECONDS_BETWEEN_DRAWINGS:
            self._draw(bar_html(description, completed, total, words, rate))

    def _draw(self, text: str) -> None:
        from IPython.display import HTML

        self.last_drawn = time.perf_counter()
        self.display.update(HTML(text))


def bar_html(title: str, done: int, total: int, words: str, rate: str) -> str:
    """The bar with its words, escaped.

    Example:
        >>> bar_html("epoch 1", 5, 10, "", "3 img/s")
        '<span class="transferkit-bar">epoch 1 <progress value="5" max="10"></progress>  3 img/s</span>'
    """
    shown = [html.escape(text) for text in (title, words, rate)]
    bar = f'<progress value="{done}" max="{max(total, 1)}"></progress>'
    return f'<span class="transferkit-bar">{shown[0]} {bar} {shown[1]} {shown[2]}</span>'
