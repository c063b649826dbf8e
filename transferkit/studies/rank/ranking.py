"""A ranking: several backbones probed on the same training images, compared pairwise, in one table."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import combinations
from pathlib import Path

import numpy as np

from transferkit import executors
from transferkit.data import datasets
from transferkit.data.images import Images, Labels, Splits
from transferkit.executors import Task
from transferkit.features.engine import memory_notes
from transferkit.features.networks import stamp
from transferkit.metrics.grouped import share_interval
from transferkit.metrics.statistics import (
    Bounds,
    PairedDifference,
    cross_validation_dependence,
    holm,
    paired_difference,
    rank_ranges,
    wilson,
)
from transferkit.models.backbones import require_known
from transferkit.recipe import RankingRecipe, Recipe, anywhere, parse_any, parse_yaml
from transferkit.report.number_words import sample_size
from transferkit.runs import result_folders
from transferkit.runs.checks.early import say_of_data
from transferkit.runs.result_folders import RANKING
from transferkit.runs.run_data import run_data
from transferkit.runtime import folders, machine
from transferkit.runtime.array_types import Bools
from transferkit.runtime.console import SILENT, Console
from transferkit.runtime.errors import MachineError
from transferkit.runtime.machine import Runtime
from transferkit.studies.rank.backbone_scores import FOLDS, ProbedBackbone, ScoreSource, folds_learnt, sample, score
from transferkit.studies.rank.imagenet_order import imagenet_order
from transferkit.studies.rank.report import write_pages
from transferkit.studies.rank.results import RankedBackbone, RankedData, RankedPair, Ranking, Standings
from transferkit.training import defaults, estimates

ALPHA = 0.05  # level of all pairs together; benchmarks/rank_false_claims.py measures what is kept of it
NO_FILE_SIGNS = re.compile(r"[^\w.=-]+")


def rank(
    ranking: RankingRecipe,
    out: Path | None = None,
    *,
    overwrite: bool = False,
    console: Console | None = None,
    command: str = "",
) -> Ranking:
    """Score every backbone that is not scored yet, compare all, and leave ranking.json and a report.

    A backbone that fails is reported and the others go on; starting again does only what is missing, and
    where nothing is, returns the ranking that is there.

    Returns:
        The ranking: `rows`, best accuracy first, and `pairs`.

    Raises:
        TransferkitError: Before any work, if a backbone is unknown, its weights do not fit or the folder holds
            something else.
        MachineError: If no backbone came to an end.
    """
    console = console or Console()
    folder = out or Path("runs") / f"{ranking.title}-{ranking.short_hash}"
    content = anywhere(ranking)
    if result_folders.is_done(folder, RANKING, content, overwrite=overwrite, console=console):
        return replace(Ranking.read(folder), folder=str(folder))
    result_folders.require_free(folder, RANKING, overwrite=overwrite, content=content)
    require_backbones(ranking)
    estimates.require_runnable(ranking.recipes())
    estimates.before_ranking(ranking, console)
    with result_folders.claim(folder, RANKING, overwrite=overwrite, content=content):
        prepare_ranking_folder(folder, content, overwrite)
        return rank_backbones(ranking, folder, console, command)


def require_backbones(ranking: RankingRecipe) -> None:
    """Refuse what cannot work, before any work.

    Raises:
        TransferkitError: If a backbone or its weights do not exist, or the executor cannot work here.
    """
    executors.require(ranking.executor)
    for backbone in ranking.backbones:
        require_known(backbone)


def rank_backbones(ranking: RankingRecipe, folder: Path, console: Console, command: str) -> Ranking:
    """Score, compare, and write, in a folder that may be written to."""
    runtime = machine.start(ranking.device, ranking.precision, ranking.threads)
    splits = datasets.load(ranking.data, console)
    findings = say_of_data(run_data(ranking.data, splits), str(folder), console)
    images = sample(splits.train, ranking.images, ranking.seed)
    scores, failures = all_scores(ranking, images, runtime, folder, console)
    if not scores:
        raise MachineError("No backbone finished:\n" + "\n".join(failures))
    names = [backbone.name for backbone in ranking.backbones]
    standings = ranked(scores, images.require_labels(), images.groups)
    ranking_found = Ranking(
        **vars(standings),
        folds=FOLDS,
        name=ranking.title,
        data=data_facts(ranking, splits, images),
        device=machine.device_name(runtime.device),
        precision=runtime.precision,
        threads=runtime.threads,
        seed=ranking.seed,
        notes=(*splits.notes, *findings, *memory_notes(runtime.device, names)),
        failures=tuple(failures),
        command=command,
        folder=str(folder),
    )
    ranking_found.write(folder)
    write_pages(folder)
    return ranking_found


def prepare_ranking_folder(folder: Path, ranking: RankingRecipe, overwrite: bool) -> None:
    """Write the ranking into its folder; what is scored already stays unless overwritten."""
    if overwrite:
        folders.remove(folder)
    result_folders.write_asked(folder, RANKING, ranking)
    folders.remove(folder, [RANKING.result, RANKING.page])


# --------------------------------------------------------------------------------------------------------- scores


def all_scores(
    ranking: RankingRecipe, images: Images, runtime: Runtime, folder: Path, console: Console
) -> tuple[dict[str, ProbedBackbone], list[str]]:
    """The score of each backbone by its label, and a sentence for each that failed."""
    is_apart = executors.is_apart(ranking.executor)
    tasks = []
    for number, (label, recipe) in enumerate(ranking.recipes().items(), start=1):
        place = folder / "backbones" / f"{number}-{NO_FILE_SIGNS.sub('-', label)}.safetensors"
        here = Task(label, read_or_score, (place, recipe, images, runtime), place)
        tasks.append(Task(label, score_apart, (ranking, label, place), place) if is_apart else here)
    failures = executors.carry_out(tasks, ranking.executor, ranking.workers, folder, console)
    scores = {task.name: ProbedBackbone.load(task.place) for task in tasks if task.name not in failures}
    return scores, [f"{label}: {why}" for label, why in failures.items()]


def score_apart(ranking: RankingRecipe, label: str, place: Path, console: Console) -> None:
    """Score one backbone in a process that has to load the images first."""
    runtime = machine.start(ranking.device, ranking.precision, ranking.threads)
    images = sampled_images(ranking.to_yaml())
    read_or_score(place, ranking.recipes()[label], images, runtime, console)


@lru_cache(maxsize=1)
def sampled_images(ranking_text: str) -> Images:
    """The images of a ranking; a worker keeps them for its next backbone."""
    ranking = parse_any(parse_yaml(ranking_text, "ranking"), "ranking")
    assert isinstance(ranking, RankingRecipe)
    return sample(datasets.load(ranking.data, SILENT).train, ranking.images, ranking.seed)


def read_or_score(place: Path, recipe: Recipe, images: Images, runtime: Runtime, console: Console) -> None:
    """Leave the answers in the file, unless it has those of the same images, weights and machine settings."""
    recipe = defaults.resolved(recipe, len(images), min(images.size_px))
    made_of = ScoreSource(
        images.fingerprint,
        stamp(recipe.backbone.weights),
        recipe.model_dump(mode="json"),
        runtime.precision,
        images.groups,
    )
    if place.exists() and ProbedBackbone.load(place).made_of == made_of:
        console.line("finished earlier, not done again")
        return
    replace(score(recipe, images, runtime, console), made_of=made_of).save(place)


# ----------------------------------------------------------------------------------------------------- comparison


def ranked(scores: Mapping[str, ProbedBackbone], labels: Labels, groups: tuple[str, ...] | None = None) -> Standings:
    """Rows with the ranks that the tests allow, all pairs, and the verdict.

    Every pair is compared on the same images, or whole groups of them, with the variance that answers of a
    cross-validation have (Nadeau and Bengio), and by Holm's adjustment over all pairs. A difference counts as shown
    where the adjusted p is at most ALPHA.
    """
    order = sorted(scores, key=lambda label: (scores[label].probe == labels).mean(), reverse=True)
    correct = {label: scores[label].probe == labels for label in order}
    pairs = compared_pairs(order, correct, groups)
    is_better = np.zeros((len(order), len(order)), dtype=bool)
    for pair in pairs:  # a comes before b in the order, so a is the better one
        is_better[order.index(pair.a), order.index(pair.b)] = pair.shown
    ranges = rank_ranges(is_better)
    rows = tuple(row(label, scores[label], labels, ranks, groups) for label, ranks in zip(order, ranges, strict=True))
    count = len(set(groups)) if groups else None
    return Standings(len(labels), rows, pairs, verdict(rows, len(labels), count), count, imagenet_order(rows))


def compared_pairs(
    order: Sequence[str], correct: Mapping[str, Bools], groups: Sequence[str] | None = None
) -> tuple[RankedPair, ...]:
    """How every two backbones differ on the same images, p adjusted by Holm over all of them."""
    names = list(combinations(order, 2))
    differences = [_difference(correct[a], correct[b], groups) for a, b in names]
    adjusted = holm([difference.p for difference in differences])
    return tuple(
        RankedPair(a, b, difference.difference, difference.interval.bounds, difference.p, float(p), bool(p <= ALPHA))
        for (a, b), difference, p in zip(names, differences, adjusted, strict=True)
    )


def _difference(correct_a: Bools, correct_b: Bools, groups: Sequence[str] | None) -> PairedDifference:
    dependence = cross_validation_dependence(FOLDS, learnt=folds_learnt(len(correct_a)), held=1)
    return paired_difference(correct_a[None], correct_b[None], "images", dependence=dependence, groups=groups)


def row(
    label: str, probed: ProbedBackbone, labels: Labels, ranks: tuple[int, int], groups: tuple[str, ...] | None = None
) -> RankedBackbone:
    """One backbone's line of the table."""
    accuracy, interval = _accuracy(probed.probe, labels, groups)
    knn_accuracy, knn_interval = _accuracy(probed.knn, labels, groups)
    return RankedBackbone(label, ranks, accuracy, interval, knn_accuracy, knn_interval, **vars(probed.facts))


def _accuracy(answers: Labels, labels: Labels, groups: tuple[str, ...] | None) -> tuple[float, Bounds]:
    """Accuracy and its Wilson interval, or that of the bootstrap over groups."""
    right = int((answers == labels).sum())
    if groups is not None:
        return right / len(labels), share_interval(answers == labels, groups).bounds
    return right / len(labels), wilson(right, len(labels)).bounds


def verdict(rows: Sequence[RankedBackbone], n: int, groups: int | None = None) -> str:
    """What to choose, in one or two sentences; names a best backbone only where it is shown."""
    best = rows[0]
    low, high = (100 * bound for bound in best.interval)
    measured = f"{100 * best.accuracy:.1f} % (95 % interval {low:.1f} to {high:.1f}, {sample_size(n, groups)})"
    if len(rows) == 1:
        return f"{best.label} gets {measured}; with one backbone there is nothing to compare."
    first = [row for row in rows if row.ranks[0] == 1]
    if len(first) == 1:
        return f"{best.label} is the best of {len(rows)} for a linear probe: {measured}."
    tied = ", ".join(row.label for row in first[:-1]) + f" and {first[-1].label}"
    cheapest = min(first, key=lambda row: row.flops)
    cost = f"{cheapest.flops / 1e9:.2g} GFLOPs"
    advice = f" Of these, {cheapest.label} needs the fewest operations ({cost} per image)."
    same_cost = sum(row.flops == cheapest.flops for row in first) > 1
    return f"No single best is shown: {tied} tie for the first rank; {best.label} gets {measured}." + (
        "" if same_cost else advice
    )


def data_facts(ranking: RankingRecipe, splits: Splits, images: Images) -> RankedData:
    """Which images the ranking was made on."""
    counts = np.bincount(images.require_labels(), minlength=len(images.class_names))
    return RankedData(
        name=str(getattr(ranking.data, "path", ranking.data.name)),
        n=len(images),
        of=len(splits.train),
        classes=len(images.class_names),
        size_px=tuple(images.size_px),
        fingerprint=images.fingerprint,
        guessing=float(counts.max() / counts.sum()),
        test_openings=splits.test.openings,
    )
