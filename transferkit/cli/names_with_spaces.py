"""Names with spaces that were typed without quotes, so that the shell made several words of them."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence

MOST_WORDS = 8  # of one name


def quotes_needed(words: Sequence[str]) -> str:
    """What to say where words of a command line, joined by spaces, are a path that exists; empty where none are.

    Args:
        words: The command line.
    """
    path = next((path for path in _joined(words) if os.path.lexists(path)), None)
    return "" if path is None else f"Names with spaces need quotes: {in_quotes(path)}."


def in_quotes(path: str) -> str:
    r"""A path as it is typed.

    Example:
        >>> print(in_quotes("My Photos"), in_quotes("my $5"))
        "My Photos" 'my $5'
    """
    return shlex.quote(path) if set(path) & set('"$`\\!') else f'"{path}"'


def _joined(words: Sequence[str]) -> Iterator[str]:
    """Neighbouring words with a space between them, the longest first; without the `--data=` before the first one."""
    for start, first in enumerate(words):
        value = first.partition("=")[2] or first
        for end in range(min(len(words), start + MOST_WORDS), start + 1, -1):
            yield " ".join([value, *words[start + 1 : end]])
