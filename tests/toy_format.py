"""An export format that somebody adds; its one line stands in `deploy.formats.FORMATS`."""

from __future__ import annotations

from pathlib import Path

from transferkit.deploy.export.source import ExportSource

FILE = "classes.txt"


def require() -> None:
    """It needs no library."""


def write(source: ExportSource, path: Path) -> tuple[str, ...]:
    """The names of the classes, a line each."""
    path.write_text("\n".join(source.class_names), encoding="utf-8")
    return ()


def usage(source: ExportSource, path: Path) -> str:
    """What is in the file."""
    return f"# {path.name}: the classes of {source.name}"
