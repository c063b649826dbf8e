"""An export format that somebody adds; its one line stands in `deploy.formats.FORMATS`."""

from __future__ import annotations

from pathlib import Path

from transferkit.models.classifier import Classifier

FILE = "classes.txt"


def require() -> None:
    """It needs no library."""


def write(classifier: Classifier, name: str, path: Path) -> str:
    """The names of the classes, a line each."""
    path.write_text("\n".join(classifier.class_names), encoding="utf-8")
    return f"# the classes of {name}"
