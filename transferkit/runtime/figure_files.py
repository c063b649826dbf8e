"""What a figure's file may be called, checked before the work whose result it shows."""

from __future__ import annotations

from pathlib import Path

from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.files import require_free

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


def require_figure(path: Path | None, overwrite: bool) -> None:
    """Refuse a figure's file that cannot be written; None, no figure, is right.

    Raises:
        TransferkitError: If its format is unknown, or it is there and may not be replaced.
    """
    if path is not None:
        figure_suffix(path)
        require_free(path, overwrite)
