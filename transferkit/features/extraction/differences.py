"""What differs between two extractions, in words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from transferkit.runtime.json_files import JsonObject

LONGEST = 40  # signs of a value; lists of classes and the like are cut
HASH, SIGNS_OF_HASH = re.compile("[0-9a-f]{32,}"), 8


def fact_differences(facts: JsonObject, other: JsonObject) -> Iterator[str]:
    """Each fact of `facts` that `other` has otherwise, with both values; tables are compared row by row.

    Example:
        >>> other = {"input": {"size": 32, "crop": 1}}
        >>> list(fact_differences({"pool": "max", "input": {"size": 64, "crop": 1}}, other))
        ['pool (max, none)', 'input size (64, 32)']
    """
    for name, value in facts.items():
        counterpart = other.get(name)
        if isinstance(value, Mapping) and isinstance(counterpart, Mapping):
            inner = {**dict.fromkeys(counterpart), **value}
            yield from (f"{name} {words}" for words in fact_differences(inner, counterpart))
        elif value != counterpart:
            yield f"{name.replace('_', ' ')} ({shortened(value)}, {shortened(counterpart)})"


def shortened(value: Any) -> str:
    """A value as a reader recognises it.

    Example:
        >>> shortened([64, 7, 7]), shortened("9f86d081" * 8), shortened(None), shortened("cat " * 20)
        ('64x7x7', '9f86d081', 'none', 'cat cat cat cat cat cat cat cat cat cat...')
    """
    if value is None:
        return "none"
    if isinstance(value, list | tuple):
        joined = ("x" if all(isinstance(part, int) for part in value) else " ").join(map(str, value))
        return shortened(joined) if joined else "empty"
    text = str(value)
    if HASH.fullmatch(text):
        return text[:SIGNS_OF_HASH]
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}..."
