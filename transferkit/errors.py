"""Errors that say what came, what was expected and what to type next."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TransferkitError(Exception):
    """A mistake the user can mend; the command ends with exit code 2 and this one message."""

    exit_code = 2


class MachineError(TransferkitError):
    """A failure of ours or of the machine (disk full, no network, loss not finite); exit code 1."""

    exit_code = 1


def did_you_mean(name: str, options: Iterable[str], limit: int = 12) -> str:
    """The sentence that guides from a wrong name to the right one.

    Example:
        >>> did_you_mean("resnet8", ["alexnet", "resnet18"])
        "Did you mean 'resnet18'? Available: alexnet, resnet18."
    """
    available = sorted(options)
    nearest = difflib.get_close_matches(name, available, n=1, cutoff=0.5)
    guess = f"Did you mean '{nearest[0]}'? " if nearest else ""
    shown = ", ".join(available[:limit])
    more = f" and {len(available) - limit} more" if len(available) > limit else ""
    return f"{guess}Available: {shown}{more}."
