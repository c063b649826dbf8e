"""What a check says: a finding with its code, and the entry of the registry that it comes from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import getdoc
from typing import Literal

from transferkit.runs.checks.subject import CheckedRun

Severity = Literal["serious", "warning", "hint"]
SEVERITIES: tuple[Severity, ...] = ("serious", "warning", "hint")  # the one to deal with first comes first
PAGE = "docs/checks.md"


@dataclass(frozen=True)
class Observation:
    """What a check saw, with its numbers, and what a person can do about it.

    Attributes:
        observed: A sentence without its full stop.
        advice: What to do, as it goes on after "Try" or by itself; without a full stop.
        command: What to type for it; empty where a command cannot do it.
    """

    observed: str
    advice: str
    command: str = ""


@dataclass(frozen=True)
class Finding:
    """An observation with the entry of the registry that it is from.

    Attributes:
        code: Such as TK001.
        title: What is wrong, in a few words.
        severity: serious: the result does not mean what it seems to; warning: it may not; hint: it could be better.
        observed: What was seen, with its numbers.
        advice: What to do about it.
        command: What to type for it; empty where a command cannot do it.
    """

    code: str
    title: str
    severity: Severity
    observed: str
    advice: str
    command: str = ""

    @property
    def page(self) -> str:
        """Where the docs explain it."""
        return f"{PAGE}#{self.code.lower()}"

    @property
    def sentence(self) -> str:
        """What was seen and what to do, as one line."""
        return f"{self.observed[0].upper()}{self.observed[1:]}: {self.advice}."

    def __str__(self) -> str:
        return f"{self.code} {self.title}. {self.sentence}"


@dataclass(frozen=True)
class Check:
    """One entry of the registry.

    Attributes:
        title: What is wrong, in a few words.
        severity: See `Finding`.
        look: From a finished run to what is wrong; None where nothing is. Its docstring is the text of the docs.
        is_early: Whether it looks at images and recipe alone, so that it speaks before training.
    """

    title: str
    severity: Severity
    look: Callable[[CheckedRun], Observation | None]
    is_early: bool = False

    def finding(self, code: str, run: CheckedRun) -> Finding | None:
        """What it says of a run."""
        observation = self.look(run)
        if observation is None:
            return None
        return Finding(code, self.title, self.severity, observation.observed, observation.advice, observation.command)

    @property
    def about(self) -> str:
        """When it speaks, and why it matters."""
        return getdoc(self.look) or ""
