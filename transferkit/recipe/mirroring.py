"""Whether a mirrored image shows the same class, as far as class names tell, and what is said about it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

SIDES: tuple[tuple[frozenset[str], frozenset[str]], ...] = tuple(  # both sides, by language
    (frozenset(left.split()), frozenset(right.split()))
    for left, right in (
        ("left", "right"),
        ("links linke linker linkes linken", "rechts rechte rechter rechtes rechten"),
        ("gauche", "droite droit"),
        ("izquierda izquierdo", "derecha derecho"),
    )
)


def reason_not_to_mirror(class_names: Sequence[str]) -> str:
    """Why a mirrored image of one class may be one of another, in words; empty where the names say nothing.

    Example:
        >>> reason_not_to_mirror(["stop", "turn left", "turn right"])
        "the classes 'turn left' and 'turn right' differ by a side"
        >>> reason_not_to_mirror(["cat", "dog"])
        ''
    """
    if len(class_names) > 1 and all(len(name) == 1 for name in class_names):
        return "the classes are single characters"
    places = {words_of(name): name for name in class_names}
    for name in class_names:
        for other in mirrored_words(words_of(name)):
            if other in places:
                return f"the classes {name!r} and {places[other]!r} differ by a side"
    return ""


def words_of(name: str) -> tuple[str, ...]:
    """The words of a class name in small letters; `turnLeft` has two."""
    return tuple(re.findall(r"[^\W_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()))


def mirrored_words(words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The words with one that names a side in place of its opposites."""
    for place, word in enumerate(words):
        for left, right in SIDES:
            for opposite in sorted(right if word in left else left if word in right else ()):
                yield (*words[:place], opposite, *words[place + 1 :])


def mirroring_in_words(is_on: bool, class_names: Sequence[str]) -> str:
    """What training does about mirroring, and the option that changes it; empty where only the user has decided."""
    if is_on:
        return "training mirrors images at random; --no-flip where a mirror image is of another class"
    reason = reason_not_to_mirror(class_names)
    return f"training does not mirror images, because {reason}; --flip mirrors them" if reason else ""
