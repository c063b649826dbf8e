"""What commands share at the terminal: how their work begins and is stopped, and what they print."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transferkit.recipe import Document
from transferkit.runtime.errors import Stopped

if TYPE_CHECKING:
    from transferkit.runtime.console import Console

NOTHING_WRITTEN = "Stopped. Nothing was written; the same command starts again."


@contextmanager
def working(when_stopped: str | Callable[[], str] = NOTHING_WRITTEN) -> Iterator[Console]:
    """The part of a command that takes its time; torch is imported inside it.

    Args:
        when_stopped: What Ctrl-C leaves, and how to go on from there; a function where only the moment tells.

    Raises:
        Stopped: With these words, at Ctrl-C.
    """
    from transferkit.runtime.console import Console

    console = Console()
    try:
        console.line("Starting (loading torch takes a few seconds) ...")
        yield console
    except KeyboardInterrupt:
        raise Stopped(when_stopped if isinstance(when_stopped, str) else when_stopped()) from None


def command_line() -> str:
    """What was typed, for the report."""
    return shlex.join(["transferkit", *sys.argv[1:]])


def show_page(page: Path) -> None:
    """Open a page in the browser; where there is none, its address is all there is to give."""
    import webbrowser

    address = page.resolve().as_uri()
    if not webbrowser.open(address):
        print(f"No browser was found. The page is {address}", file=sys.stderr)


def print_json(value: Any) -> None:
    """One JSON document on stdout, of plain values or of a record."""
    if is_dataclass(value):
        from transferkit.runtime.records import as_json as plain

        value = plain(value)
    print(json.dumps(value, indent=1, ensure_ascii=False, default=str))


def print_dry_run(work: Document, inputs: Sequence[str], estimates: str | Mapping[str, str], as_json: bool) -> None:
    """What would be run, for --dry-run: the recipe alone on stdout; beside it what was seen, and what it would cost."""
    from transferkit.runtime.console import Console
    from transferkit.training.estimates import announce

    if as_json:
        name = "estimate" if isinstance(estimates, str) else "estimates"
        print_json({"recipe": work.model_dump(mode="json"), name: estimates, "inputs": inputs})
        return
    print(work.to_yaml(), end="")
    for line in (*inputs, *([estimates] if isinstance(estimates, str) else [])):
        Console().line(line)
    if not isinstance(estimates, str):
        announce(estimates, Console())
