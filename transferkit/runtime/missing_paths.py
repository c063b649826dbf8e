"""What a message says of a path that does not exist: where it ends, and what is called alike there."""

from __future__ import annotations

import difflib
import os
from contextlib import suppress
from itertools import islice
from pathlib import Path

from transferkit.runtime.plurals import counted

MOST_NAMES = 5_000  # of a folder, among which one that is alike is looked for
ALIKE = 0.6
LONGEST = 300  # characters of a path that a message repeats


def missing_in_words(path: Path) -> str:
    """The sentences that say what is not there, and which name beside it may be meant.

    Example:
        >>> missing_in_words(Path("nowhere/new/cat.jpg"))
        'nowhere/new/cat.jpg does not exist; there is no folder nowhere.'
    """
    named = _shown(path)
    gone = next(place for place in (*reversed(path.parents), path) if place == path or not os.path.exists(place))
    if gone != path:
        return f"{named} does not exist; there is no folder {_shown(gone)}."
    alike = difflib.get_close_matches(path.name, _names(path.parent), n=1, cutoff=ALIKE)
    return f"{named} does not exist." + (f" Did you mean {path.parent / alike[0]}?" if alike else "")


def is_meant_as_path(word: str) -> bool:
    """Whether a word can be nothing but a path.

    Example:
        >>> is_meant_as_path("new/cats"), is_meant_as_path("cat.jpg"), is_meant_as_path("cifar10")
        (True, True, False)
    """
    return os.sep in word or bool(Path(word).suffix)


def _shown(path: Path) -> str:
    text = str(path)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ... ({counted(len(text), 'character')})"


def _names(folder: Path) -> list[str]:
    with suppress(OSError), os.scandir(folder) as entries:
        return [entry.name for entry in islice(entries, MOST_NAMES)]
    return []
