"""What checks find before and while a network is trained, each said once: minutes later it would be too late."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from transferkit.data import datasets
from transferkit.data.split_facts import ClassCounts, SplitFacts
from transferkit.recipe import Recipe
from transferkit.runs import checks
from transferkit.runs.checks.subject import CheckedRun
from transferkit.runs.facts import Fingerprints, ImageCounts, RunData, RunFacts, StartFacts
from transferkit.runtime.console import Console

OF_FOLDERS = ("TK025", "TK026")  # the checks that names of folders are enough for


class EarlyChecks:
    """Says on the console what the early checks find, as facts come in.

    Args:
        run: As far as it is known.
        ignored: Codes of checks that are not asked.
        console: Findings go there, each once.
    """

    def __init__(self, run: CheckedRun, ignored: Collection[str], console: Console) -> None:
        self._run, self._ignored, self._console = run, ignored, console
        self._said: set[str] = set()
        self.start = StartFacts()

    def say(self) -> None:
        """Print the findings that have not been printed."""
        for finding in checks.early_findings(self._run, self._ignored):
            if finding.code not in self._said:
                self._console.once(str(finding))
                self._said.add(finding.code)

    def observe(self, start: StartFacts) -> None:
        """Take what was seen of a training's start, and say what follows; what was known stays."""
        known = {name: value for name, value in vars(start).items() if value is not None}
        self.start = replace(self.start, **known)
        if self._run.facts:
            self._run = replace(self._run, facts=replace(self._run.facts, start=self.start))
        self.say()


def say_of_data(data: RunData, place: str, console: Console) -> tuple[str, ...]:
    """Print what checks find in images that no run is made of; the lines."""
    run = CheckedRun(place, facts=RunFacts(seconds={}, data=data))
    lines = tuple(str(finding) for finding in checks.early_findings(run))
    for line in lines:
        console.once(line)
    return lines


def findings_of_folders(recipe: Recipe) -> list[str]:
    """What checks that the recipe does not mute find in the names of its folders, before any file is opened."""
    parts = SplitFacts((), ClassCounts((), (), ()), files=datasets.seen_files(recipe.data))
    unread = RunData(recipe.data.name, Fingerprints("", "", ""), ImageCounts(0, 0, 0), (), parts=parts)
    run = CheckedRun(facts=RunFacts(seconds={}, data=unread))
    asked = [code for code in OF_FOLDERS if code not in recipe.ignore]
    return [str(finding) for code in asked if (finding := checks.CHECKS[code].finding(code, run))]


def early_checks(recipe: Recipe, facts: RunFacts, place: str, console: Console) -> EarlyChecks:
    """The early checks of a resolved recipe, after what they find in it and in its images is said."""
    watch = EarlyChecks(CheckedRun(place, recipe, facts), recipe.ignore, console)
    watch.say()
    return watch
