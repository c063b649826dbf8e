"""Folders that have to be there before anything is written into them."""

from __future__ import annotations

from pathlib import Path

from transferkit.errors import MachineError

CACHE_ADVICE = "Set TRANSFERKIT_CACHE to a folder that you may write to."


def made(folder: Path, advice: str = CACHE_ADVICE) -> Path:
    """The folder, made where it was missing.

    Raises:
        MachineError: If it cannot be made; ends with `advice`.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MachineError(f"Cannot make the folder {folder}: {error.strerror or error}. {advice}") from error
    return folder
