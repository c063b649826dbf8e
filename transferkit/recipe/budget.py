"""How long a training may last: epochs, steps, time or operations, read from `3epochs`, `10min`, `1e15flops`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from transferkit.runtime.errors import TransferkitError, quoted
from transferkit.runtime.plurals import counted

Kind = Literal["epochs", "steps", "seconds", "flops", "converged"]

UNITS: dict[str, tuple[Kind, float]] = {
    "epoch": ("epochs", 1),
    "epochs": ("epochs", 1),
    "step": ("steps", 1),
    "steps": ("steps", 1),
    "s": ("seconds", 1),
    "min": ("seconds", 60),
    "h": ("seconds", 3600),
    "flops": ("flops", 1),
}
LARGEST: dict[Kind, float] = {"epochs": 1e5, "steps": 1e9, "seconds": 1e8, "flops": 1e24}  # years on any machine
CONVERGED = "converged"
EXAMPLES = "3epochs, 500steps, 10min or 1e15flops, or the word converged"
NOT_CUT = "A probe has no steps to count: it takes one feature pass and a convex fit, whatever the budget."
FEATURE_PASSES = "Feature passes, validation and the test are not counted; the time to fit, beside it, is all of it."


@dataclass(frozen=True)
class Budget:
    """What a training may use.

    Attributes:
        kind: What is counted; `converged` stands for the default length of each method.
        amount: How many epochs, steps, seconds or operations; 0 for `converged`.
    """

    kind: Kind
    amount: float

    @property
    def text(self) -> str:
        """What `read` reads as this budget.

        Example:
            >>> read("0.5h").text, read("500 steps").text, read("converged").text
            ('1800s', '500steps', 'converged')
        """
        if self.kind == CONVERGED:
            return CONVERGED
        return f"{self.amount:.15g}{'s' if self.kind == 'seconds' else self.kind}"

    @property
    def amount_in_words(self) -> str:
        """A number of epochs or steps for people; everything else as it is read.

        Example:
            >>> read("1epochs").amount_in_words, read("500steps").amount_in_words
            ('1 epoch', '500 steps')
        """
        return counted(int(self.amount), self.kind[:-1]) if self.kind in ("epochs", "steps") else self.text

    @property
    def in_words(self) -> str:
        """What the budget means, for a reader of the result."""
        match self.kind:
            case "epochs":
                times = "once" if self.amount == 1 else f"{self.amount:g} times"
                return f"every training by gradient steps sees the training images {times}. {NOT_CUT}"
            case "steps":
                return f"every training takes {self.amount:,.0f} gradient steps. {NOT_CUT}"
            case "seconds":
                return (
                    f"gradient steps go on for {clock(self.amount)} on this machine, and the learning rate follows the "
                    f"clock. {FEATURE_PASSES} {NOT_CUT}"
                )
            case "flops":
                return (
                    f"gradient steps for {self.amount:.3g} operations, counted as 3 x forward operations x images (two "
                    f"per multiply-add; convolutions, linear layers and attention; without the head; frozen or not). "
                    f"{FEATURE_PASSES} {NOT_CUT}"
                )
            case "converged":
                return "every training has the default length of its method, so the arms do not cost the same."


def read(text: str) -> Budget:
    """The budget that a text means.

    Raises:
        TransferkitError: If it cannot be read, or is not more than zero.

    Example:
        >>> read("10min")
        Budget(kind='seconds', amount=600.0)
    """
    if text == CONVERGED:
        return Budget("converged", 0.0)
    match = re.fullmatch(r"\s*([0-9.]+(?:[eE][+-]?[0-9]+)?)\s*([A-Za-z]+)\s*", text)
    unit = match.group(2).lower() if match else ""
    if match is None or unit not in UNITS:
        raise TransferkitError(
            f"Cannot read the budget {quoted(text)}. Expected a number with a unit, as in {EXAMPLES}."
        )
    kind, factor = UNITS[unit]
    amount = factor * _number(match.group(1), text)
    if amount <= 0:
        raise TransferkitError(f"The budget {quoted(text)} trains nothing. Expected more than zero, as in {EXAMPLES}.")
    if amount > LARGEST[kind]:
        raise TransferkitError(f"The budget {quoted(text)} has no end. Expected at most {LARGEST[kind]:g} {kind}.")
    if kind in ("epochs", "steps") and amount != int(amount):
        raise TransferkitError(
            f"The budget {quoted(text)} is no whole number. To stop within an epoch, count in steps."
        )
    return Budget(kind, amount)


def _number(digits: str, text: str) -> float:
    try:
        return float(digits)
    except ValueError as error:
        raise TransferkitError(f"Cannot read the budget {quoted(text)}: {quoted(digits)} is no number.") from error


def clock(seconds: float) -> str:
    """Seconds in the largest unit that keeps them readable.

    Example:
        >>> clock(45), clock(600), clock(9000)
        ('45 s', '10 min', '2.5 h')
    """
    if seconds < 120:
        return f"{seconds:g} s"
    return f"{seconds / 60:g} min" if seconds < 7200 else f"{seconds / 3600:g} h"


def operations_in_words(flops: float) -> str:
    """A number of operations as a person reads it.

    Example:
        >>> operations_in_words(1.19e9), operations_in_words(4.6e6)
        ('1.2 GFLOPs', '4.6 MFLOPs')
    """
    unit, name = (1e9, "GFLOPs") if flops >= 1e8 else (1e6, "MFLOPs")
    number = flops / unit
    return f"{number:.2g} {name}" if number < 10 else f"{number:,.0f} {name}"
