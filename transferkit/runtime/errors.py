"""Errors that say what came, what was expected and what to type next."""

from __future__ import annotations

import difflib
import reprlib
import unicodedata
from collections.abc import Iterable
from typing import Any

from transferkit.runtime.plurals import counted

LONGEST_QUOTE = 80  # characters of what a message repeats
_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring = 3, LONGEST_QUOTE


class TransferkitError(Exception):
    """A mistake the user can fix; the command ends with exit code 2 and this one message."""

    exit_code = 2


class MachineError(TransferkitError):
    """A failure of ours or of the machine (disk full, no network, loss not finite); exit code 1."""

    exit_code = 1


class FullDisk(MachineError):
    """There is no room left for a file; names it."""


class Stopped(TransferkitError):
    """Ctrl-C; says what is kept. Exit code 130, as shells give it: 128 and the number of SIGINT."""

    exit_code = 130


def reason(error: Exception) -> str:
    """Why something failed: our own message as it is, any other by its kind and first line.

    Example:
        >>> reason(TransferkitError("no network")), reason(KeyError("head")), reason(RuntimeError())
        ('no network', "KeyError: 'head'", 'RuntimeError')
    """
    if isinstance(error, TransferkitError):
        return str(error)
    first = (str(error).strip().splitlines() or [""])[0][: 2 * LONGEST_QUOTE]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def quoted(value: Any, longest: int = LONGEST_QUOTE) -> str:
    """What came, as a message repeats it: however large it is, in a few words.

    Example:
        >>> quoted("resnet8"), quoted("ab" * 500, longest=4), quoted(10**5000)
        ("'resnet8'", "'abab' ... (1,000 characters)", 'a number of 5,001 digits')
    """
    if isinstance(value, str):
        return repr(value) if len(value) <= longest else f"{value[:longest]!r} ... ({counted(len(value), 'character')})"
    if isinstance(value, int) and (bits := value.bit_length()) > 3 * longest:
        return f"a number of {counted(int(bits * 0.30103) + 1, 'digit')}"
    try:
        text = _SHORT.repr(value)
    except Exception:  # whatever the value's own repr does
        return f"a {type(value).__name__}"
    return text if len(text) <= 2 * longest else f"{text[: 2 * longest]} ..."


def is_plain(text: str) -> bool:
    """Whether paths and files can hold a text: no control characters, no bytes that were no UTF-8.

    Example:
        >>> is_plain("Café 1"), is_plain("a\\0b"), is_plain("caf\\udce9")
        (True, False, False)
    """
    return text.isprintable() or all(unicodedata.category(sign) not in ("Cc", "Cs") for sign in text)


def did_you_mean(name: str, options: Iterable[str], limit: int = 12, also: Iterable[str] = ()) -> str:
    """The sentence that guides from a wrong name to the right one; `also` may be meant, but is not listed.

    Example:
        >>> did_you_mean("resnet8", ["alexnet", "resnet18"])
        "Did you mean 'resnet18'? Available: alexnet, resnet18."
    """
    available = sorted(options)
    nearest = difflib.get_close_matches(str(name)[:LONGEST_QUOTE], [*available, *also], n=1, cutoff=0.5)
    guess = f"Did you mean '{nearest[0]}'? " if nearest else ""
    return f"{guess}{all_of(available, limit)}"


def all_of(options: Iterable[str], limit: int = 12) -> str:
    """The sentence that lists what there is.

    Example:
        >>> all_of(["resnet18", "alexnet", "vgg16"], limit=2)
        'Available: alexnet, resnet18 and 1 more.'
    """
    available = sorted(options)
    shown = ", ".join(available[:limit])
    more = f" and {len(available) - limit} more" if len(available) > limit else ""
    return f"Available: {shown}{more}."
