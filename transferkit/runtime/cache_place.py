"""Where the cache lies."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Where downloads, decoded images and features are kept: $TRANSFERKIT_CACHE, else the user's cache folder."""
    if chosen := os.environ.get("TRANSFERKIT_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "transferkit"
