"""What a figure's file may be called, checked before the work whose result it shows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.files import claim

SUFFIXES = ("pdf", "png", "svg")


def figure_suffix(path: Path) -> str:
    """The format of a figure's file.

    Example:
        >>> figure_suffix(Path("maps.PNG"))
        'png'

    Raises:
        TransferkitError: If it is unknown.
    """
    suffix = path.suffix.lower().lstrip(".")
    if suffix not in SUFFIXES:
        raise TransferkitError(
            f"Cannot draw a figure as {path.name!r}. Expected a name that ends in .pdf, .png or .svg."
        )
    return suffix


@contextmanager
def claim_figure(path: Path | None, overwrite: bool) -> Iterator[None]:
    """Refuse a figure's file that cannot be written; inside, no other process draws it. None, no figure, is right.

    Raises:
        TransferkitError: If its format is unknown, it is there and may not be replaced, or another process draws it.
    """
    if path is not None:
        figure_suffix(path)
    with claim(path, overwrite):
        yield
