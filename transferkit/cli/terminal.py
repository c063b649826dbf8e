"""What commands share at the terminal: how their work begins and is stopped, and what they print."""

from __future__ import annotations

import gc
import json
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import is_dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transferkit.recipe import Document
from transferkit.runtime.errors import FullDisk, MachineError, Stopped

if TYPE_CHECKING:
    from transferkit.runtime.console import Console

DryRunFacts = tuple[Sequence[str], str | Mapping[str, str]]  # what was seen, and the cost: of one run, or by arm
NOTHING_WRITTEN = "Stopped. Nothing was written; the same command starts again."


@contextmanager
def working(when_stopped: str | Callable[[], str] = NOTHING_WRITTEN) -> Iterator[Console]:
    """The part of a command that takes its time; torch is imported inside it.

    Args:
        when_stopped: What Ctrl-C leaves, and how to go on from there; a function where only the moment tells.

    Raises:
        Stopped: With these words, at Ctrl-C.
        FullDisk: With these words after its own.
    """
    from transferkit.runtime.full_disk import full_disk, says_full

    print_starting()
    try:
        import_torch()
        from transferkit.runtime.console import Console

        yield Console()
    except KeyboardInterrupt:
        raise Stopped(_words(when_stopped)) from None
    except FullDisk as error:
        raise FullDisk(f"{error} {_words(when_stopped)}") from error
    except OSError as error:
        if not says_full(error):
            raise
        raise FullDisk(f"{full_disk(error.filename, error)} {_words(when_stopped)}") from error


def _words(when_stopped: str | Callable[[], str]) -> str:
    return when_stopped if isinstance(when_stopped, str) else when_stopped()


def print_starting(doing: str = "Starting") -> None:
    """Say on stderr what begins, before torch is imported, so that nobody waits for seconds before a silent screen."""
    print(f"{doing} (loading torch takes a few seconds) ...", file=sys.stderr, flush=True)


def import_torch() -> None:
    """Import torch, its objects left out of all garbage collections; nothing where it is there already.

    They are hundreds of thousands, which stay until the end. While they come, and at each import behind them, Python
    would look through all of them again: a sixth of the seconds until a first prediction.
    """
    if "torch" in sys.modules:
        return
    gc.disable()
    try:
        import_module("torch")
        gc.freeze()
    finally:
        gc.enable()


def command_line() -> str:
    """What was typed, for the report."""
    return shlex.join(["transferkit", *sys.argv[1:]])


def show_page(page: Path) -> None:
    """Open a page in the browser; where there is none, its address is all there is to give."""
    import webbrowser

    address = page.resolve().as_uri()
    if not webbrowser.open(address):
        print(f"No browser was found. The page is {address}", file=sys.stderr)


def require_complete(failures: Sequence[str], parts: str) -> None:
    """End with exit code 1 where a result that has been shown lacks a part, so that scripts do not take it for whole.

    Args:
        failures: What the result says of parts that came to no end.
        parts: Such as runs.

    Raises:
        MachineError: Says how to go on.
    """
    if failures:
        raise MachineError(
            f"Not all {parts} came to an end; those that failed are named above. The same command tries them again, "
            "and does nothing else twice."
        )


def print_json(value: Any) -> None:
    """One JSON document on stdout, of plain values or of a record."""
    if is_dataclass(value):
        from transferkit.runtime.records import as_json as plain

        value = plain(value)
    print(json.dumps(value, indent=1, ensure_ascii=False, default=str))


def print_dry_run(
    work: Document, look: Callable[[], tuple[Sequence[str], str | Mapping[str, str]]], as_json: bool
) -> None:
    """What would be run, for --dry-run: the recipe alone on stdout; beside it what was seen, and what it would cost.

    Args:
        work: The recipe, which is shown at once.
        look: Looks at the data and times a step, which takes torch.
        as_json: One JSON document instead.
    """
    if not as_json:
        print(work.to_yaml(), end="", flush=True)
    print_starting("Estimating")
    import_torch()
    inputs, estimates = look()
    if as_json:
        name = "estimate" if isinstance(estimates, str) else "estimates"
        print_json({"recipe": work.model_dump(mode="json"), name: estimates, "inputs": inputs})
        return
    from transferkit.runtime.console import Console
    from transferkit.training.estimates import announce

    for line in (*inputs, *([estimates] if isinstance(estimates, str) else [])):
        Console().line(line)
    if not isinstance(estimates, str):
        announce(estimates, Console())


def print_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table on stdout; the first column stands left and is not broken."""
    from rich.table import Table

    from transferkit.runtime.console import Console, printable

    table = Table(box=None, header_style="bold", pad_edge=False)
    for number, title in enumerate(titles):
        table.add_column(title, justify="right" if number else "left", no_wrap=not number)
    for row in rows:
        table.add_row(*map(printable, row))
    Console(stream=sys.stdout).show(table)
