"""Many finished runs become one comparison: accuracy and cost of every arm, and the paired differences between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from transferkit.metrics.grouped import accuracy_interval
from transferkit.metrics.outputs import Outputs
from transferkit.metrics.statistics import Over, holm, mean_and_sd, paired_difference
from transferkit.recipe import budget as budgets
from transferkit.runs.run_directory import Run
from transferkit.runtime.environment import Environment
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.machine import thread_count
from transferkit.runtime.plurals import counted
from transferkit.studies.compare.results import Agreement, Arm, ArmDifference, ArmPair, Comparison, LoggedEpoch
from transferkit.studies.compare.same_data import groups_of, require_same_images
from transferkit.studies.compare.verdict import verdict

Correct: TypeAlias = npt.NDArray[np.bool_]  # (S, N), one row per seed
Floats: TypeAlias = npt.NDArray[np.float64]

ALPHA = 0.05  # bound of the probability that any difference claimed in the whole table is none


def compare(arms: Mapping[str, Sequence[Run]], reference: str, over: Over | None = None) -> Comparison:
    """Several arms on the same test images, the reference first.

    Args:
        arms: The runs of each arm, one per seed.
        reference: The arm that the others' differences are shown to.
        over: What differences, with their intervals and p-values, count as drawn by chance: `images`, or `seeds` and
            images; None takes the seeds in where every arm has at least two.

    Raises:
        TransferkitError: If the arms were tested on other images, or an interval over seeds has too few of them.
    """
    outputs = {name: [run.outputs("test") for run in runs] for name, runs in arms.items()}
    require_same_images(outputs)
    correct = {name: correct_answers(per_seed) for name, per_seed in outputs.items()}
    over = over or chosen_over(correct)
    require_seeds(correct, over)
    groups = groups_of(outputs)
    first = replace(next(iter(outputs.values()))[0], groups=groups)
    pairs = all_pairs(correct, over, groups)
    names = [reference, *(name for name in arms if name != reference)]
    rows = tuple(
        measured_arm(name, arms[name], correct[name], first, seen_from(name, reference, pairs)) for name in names
    )
    first_places = leaders(sorted(names, key=lambda name: correct[name].mean(), reverse=True), pairs)
    counted = len(set(groups)) if groups else None
    return Comparison(
        reference=reference,
        n=len(first),
        over=over,
        class_names=tuple(first.class_names),
        arms=rows,
        pairs=pairs,
        leaders=first_places,
        agreement=Agreement(tuple(names), agreement([~correct[name] for name in names])),
        verdict=verdict(rows, pairs, first_places, reference, over, len(first), counted),
        notes=notes(arms),
        groups=counted,
    )


def correct_answers(per_seed: Sequence[Outputs]) -> Correct:
    """(S, N), whether each run is right on each image."""
    return np.stack([outputs.is_right for outputs in per_seed])


# ---------------------------------------------------------------------------------------------------- an arm


def measured_arm(
    name: str, runs: Sequence[Run], correct: Correct, test: Outputs, difference: ArmDifference | None
) -> Arm:
    """One arm: how good, how sure, how costly. What its runs do not know is None."""
    accuracies = correct.mean(axis=1)
    facts = [run.facts for run in runs]
    costs = [fact.costs for fact in facts]
    return Arm(
        name=name,
        runs=tuple(str(run.path) for run in runs),
        seeds=len(runs),
        accuracies=tuple(accuracies.tolist()),
        mean=float(accuracies.mean()),
        sd=mean_and_sd(accuracies)[1] if len(runs) > 1 else None,
        interval=accuracy_interval(correct, test.groups).bounds,
        recalls=tuple(_share(correct[:, test.require_labels() == label]) for label in range(len(test.class_names))),
        length=length_in_words(runs[0]),
        trained_parameters=facts[0].trained_parameters,
        steps=costs[0].steps,
        flops_per_image=costs[0].flops_per_image,
        training_flops=_mean([cost.training_flops for cost in costs]),
        fit_seconds=_mean([fact.fit_seconds for fact in facts]),
        predicted_images_per_second=_mean([cost.predicted_images_per_second for cost in costs]),
        peak_memory_bytes=max((cost.peak_memory_bytes or 0 for cost in costs), default=0) or None,
        test_openings=sum(fact.test_openings or 0 for fact in facts),
        history=logged(runs[0]),
        difference=difference,
        backbone=runs[0].recipe.backbone.name,
        method=runs[0].recipe.method.name,
    )


def _share(correct: Correct) -> float | None:
    return float(correct.mean()) if correct.size else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def length_in_words(run: Run) -> str:
    """How long a run trained, as its recipe says it.

    What is not trained is solved; trainings have epochs, steps or time.
    """
    training = run.recipe.method.training
    if training is None:
        return "solved"
    if training.budget is None:
        return counted(training.epochs, "epoch") if training.epochs else ""
    budget = budgets.read(training.budget)
    return budgets.clock(budget.amount) if budget.kind == "seconds" else f"{budget.amount:,.0f} steps"


def logged(run: Run) -> tuple[LoggedEpoch, ...]:
    """What the page draws of a run's log."""
    history = run.history
    seconds = np.cumsum([epoch.seconds or 0.0 for epoch in history])
    return tuple(
        LoggedEpoch(epoch.epoch, epoch.step, epoch.loss, epoch.val_accuracy, float(so_far))
        for epoch, so_far in zip(history, seconds, strict=True)
    )


# --------------------------------------------------------------------------------------------------- pairs


def chosen_over(correct: Mapping[str, Correct]) -> Over:
    """Seeds and images where every arm has two seeds, else images alone."""
    return "seeds" if all(len(answers) > 1 for answers in correct.values()) else "images"


def require_seeds(correct: Mapping[str, Correct], over: Over) -> None:
    """Refuse an interval over seeds from one seed.

    Raises:
        TransferkitError: Names the arm.
    """
    alone = [name for name, answers in correct.items() if len(answers) < 2]
    if over == "seeds" and alone:
        raise TransferkitError(
            f"An interval over seeds needs at least two seeds of every arm; {alone[0]} has one. "
            "Use --seeds 3, or --over images."
        )


def all_pairs(correct: Mapping[str, Correct], over: Over, groups: Sequence[str] | None = None) -> tuple[ArmPair, ...]:
    """How each two arms differ, the better mean first, with p-values adjusted over all pairs."""
    ranked = sorted(correct, key=lambda name: correct[name].mean(), reverse=True)
    names = list(combinations(ranked, 2))
    differences = [paired_difference(correct[a], correct[b], over, groups=groups) for a, b in names]
    adjusted = holm([difference.p for difference in differences])
    return tuple(
        ArmPair(
            a=a,
            b=b,
            mean=difference.difference,
            interval=difference.interval.bounds,
            p=difference.p,
            p_holm=float(p),
            shown=bool(p <= ALPHA),
            discordant=_discordant(correct[a], correct[b]),
        )
        for (a, b), difference, p in zip(names, differences, adjusted, strict=True)
    )


def _discordant(a: Correct, b: Correct) -> tuple[int, int] | None:
    """Of two single runs, what McNemar's test counts: images that only the first, and only the second, gets right."""
    return (int((a & ~b).sum()), int((b & ~a).sum())) if len(a) == len(b) == 1 else None


def seen_from(name: str, reference: str, pairs: Sequence[ArmPair]) -> ArmDifference | None:
    """The difference of an arm to the reference, from the pair of the two; None for the reference."""
    return next((pair.of(name) for pair in pairs if {pair.a, pair.b} == {name, reference}), None)


def leaders(ranked: Sequence[str], pairs: Sequence[ArmPair]) -> tuple[str, ...]:
    """The arms that no other is shown to be better than, best mean first; one of them alone is the winner."""
    beaten = {pair.b for pair in pairs if pair.shown}
    return tuple(name for name in ranked if name not in beaten)


def agreement(wrong: Sequence[Correct]) -> tuple[tuple[float | None, ...], ...]:
    """Of the images that a run of the row's arm gets wrong, the share that a run of the column's arm gets wrong too.

    The mean over pairs of runs. On the diagonal it is that of two seeds of one arm, None with a single seed: as much as
    can be expected of arms that differ by chance alone. None where the row's arm makes no error.

    Args:
        wrong: (S, N) per arm.
    """
    return tuple(tuple(_shared_errors(a, b, a is b) for b in wrong) for a in wrong)


def _shared_errors(a: Correct, b: Correct, is_same_arm: bool) -> float | None:
    both: Floats = (a.astype(np.float64) @ b.T) / np.maximum(a.sum(axis=1, keepdims=True), 1)  # (S, T)
    errs: Correct = a.sum(axis=1) > 0
    counted: Correct = np.tile(errs[:, None], (1, len(b)))
    if is_same_arm:
        np.fill_diagonal(counted, False)
    return float(both[counted].mean()) if counted.any() else None


# -------------------------------------------------------------------------------------------- how they were made


def notes(arms: Mapping[str, Sequence[Run]]) -> tuple[str, ...]:
    """What a reader must know of how the runs were made: other versions, other machines."""
    environments = [run.environment for runs in arms.values() for run in runs]
    versions = sorted({str(environment.packages.get("transferkit", "unknown")) for environment in environments})
    machines = sorted({_machine(environment) for environment in environments})
    lines = [f"Made with several versions of transferkit: {', '.join(versions)}."] * (len(versions) > 1)
    if len(machines) > 1:
        return (*lines, f"Made on several machines, so times and memory do not compare: {'; '.join(machines)}.")
    return (*lines, f"Times and memory: {machines[0]}.")


def _machine(environment: Environment) -> str:
    threads, processes = thread_count(environment.threads or 0), environment.processes or 1
    shared = f" in each of {processes} processes" if processes > 1 else ""
    return f"{environment.device}, {environment.precision}, {threads}{shared}"
