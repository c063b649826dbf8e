"""What may be compared: runs on the same images, classes and labels, each experiment once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from transferkit.metrics.outputs import Outputs
from transferkit.runs.run_directory import Run, open_run
from transferkit.runtime.errors import TransferkitError, did_you_mean
from transferkit.runtime.json_files import JsonObject, JsonValue
from transferkit.runtime.plurals import counted

NOT_THE_EXPERIMENT = {
    "seed",
    "name",
    "device",
    "threads",
    "stated_accuracy",
}  # of a recipe: another value is the same arm


def finished_runs(paths: Sequence[Path]) -> list[Run]:
    """The finished runs in these folders, made on the same data.

    Raises:
        TransferkitError: If one is no finished run of this version, is there twice, or was made on other data.
    """
    runs = [open_run(path) for path in paths]
    places = [run.path.resolve() for run in runs]
    if twice := [run.path for run, place in zip(runs, places, strict=True) if places.count(place) > 1]:
        raise TransferkitError(f"{twice[0]} is there twice. Name every run once.")
    for run in runs:
        if not run.outputs_path("test").exists():
            raise TransferkitError(f"{run.path} has no outputs/test.safetensors, so there is nothing to compare it by.")
    require_same_data(runs)
    return runs


def require_same_data(runs: Sequence[Run]) -> None:
    """Refuse runs whose classes or images differ in any part.

    Raises:
        TransferkitError: Names two runs and what is different.
    """
    first = runs[0]
    for other in runs[1:]:
        require_same_classes(first, other)
        parts, others = (vars(run.facts.data.fingerprint) for run in (first, other))
        counts, other_counts = (vars(run.facts.data.n) for run in (first, other))
        for part in ("train", "val", "test"):
            if parts[part] != others[part]:
                raise TransferkitError(
                    f"{first.path} and {other.path} were not made on the same images: their {part} parts differ "
                    f"({counts[part]:,} and {counted(other_counts[part], 'image')}). Make both with the same --data, "
                    "--limit-per-class, --val-fraction and --split-seed; for several numbers of labels there is "
                    "`transferkit curve`."
                )


def require_same_classes(first: Run, other: Run) -> None:
    """Refuse two runs that tell different classes apart.

    Raises:
        TransferkitError: Shows which classes only one of them has.
    """
    names, others = (list(run.model.class_names) for run in (first, other))
    if names == others:
        return
    here, there = sorted(set(names) - set(others)), sorted(set(others) - set(names))
    differ = f"only the first has {_listed(here)}, only the second {_listed(there)}" if here or there else "in order"
    raise TransferkitError(
        f"{first.path} and {other.path} have different classes: {differ}. Compare runs that were made on the same data."
    )


def _listed(names: Sequence[str], limit: int = 5) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return (", ".join(repr(name) for name in names[:limit]) or "none") + more


def require_same_images(sets: Mapping[str, Sequence[Outputs]]) -> None:
    """Refuse arms that were not tested on the same images with the same labels.

    Raises:
        TransferkitError: Names the first arm that differs.
    """
    first_name, first_sets = next(iter(sets.items()))
    first = first_sets[0]
    for name, outputs in sets.items():
        for other in outputs:
            same = other.ids == first.ids and np.array_equal(other.require_labels(), first.require_labels())
            if not same or other.class_names != first.class_names:
                raise TransferkitError(
                    f"{name} and {first_name} were tested on different images ({len(other)} and {len(first)}), so they "
                    "cannot be compared. Make both runs with the same --data and split seed."
                )


def groups_of(sets: Mapping[str, Sequence[Outputs]]) -> tuple[str, ...] | None:
    """What the images that all arms were tested on belong to, where a run says so.

    Raises:
        TransferkitError: Names the first arm whose images belong together in another way.
    """
    known = [(name, outputs.groups) for name, per_seed in sets.items() for outputs in per_seed if outputs.groups]
    for name, groups in known:
        if groups != known[0][1]:
            raise TransferkitError(
                f"{name} and {known[0][0]} were tested on the same images in different groups, so it is not clear what "
                "was drawn by chance. Make both runs with the same --group."
            )
    return known[0][1] if known else None


# ------------------------------------------------------------------------------------------- runs become arms


def arms_of(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """The runs of each arm, by seed: an arm is a recipe apart from its seed, its name and the machine.

    Raises:
        TransferkitError: If there are fewer than two arms, or one of them has a seed twice.
    """
    groups: list[tuple[JsonObject, list[Run]]] = []
    for run in runs:
        experiment = dict(_flat(run.recipe.model_dump(mode="json", exclude=NOT_THE_EXPERIMENT)))
        members_alike = next((members for known, members in groups if known == experiment), None)
        if members_alike is None:
            groups.append((experiment, [run]))
        else:
            members_alike.append(run)
    if len(groups) < 2:
        raise TransferkitError(
            f"{len(runs)} run{'s' * (len(runs) > 1)} with one recipe apart from the seed: there is nothing to compare. "
            "Add runs of another method or backbone."
        )
    for _, members in groups:
        _require_other_seeds(members)
    labels = _labels([experiment for experiment, _ in groups])
    return {
        label: sorted(members, key=lambda run: run.recipe.seed)
        for label, (_, members) in zip(labels, groups, strict=True)
    }


def _require_other_seeds(members: Sequence[Run]) -> None:
    for a, b in combinations(members, 2):
        if a.recipe.seed == b.recipe.seed:
            raise TransferkitError(
                f"{a.path} and {b.path} are the same experiment: the same recipe with seed {a.recipe.seed}. "
                "Leave one out, or make it again with another --seed."
            )


def _labels(experiments: Sequence[JsonObject]) -> list[str]:
    """Method and backbone of each, and the keys that tell apart those of the same method and backbone."""
    short = [
        f"{experiment['method.name']}-{experiment['backbone.name']}".replace("/", "-") for experiment in experiments
    ]
    labels = []
    for experiment, label in zip(experiments, short, strict=True):
        alike = [other for other, its in zip(experiments, short, strict=True) if its == label]
        keys = sorted(
            {key for other in alike for key in {*other, *experiment} if other.get(key) != experiment.get(key)}
        )
        distinguishing = ", ".join(f"{key.rpartition('.')[2]}={_brief(experiment.get(key))}" for key in keys[:3])
        labels.append(f"{label} ({distinguishing})" if keys else label)
    return labels if len(set(labels)) == len(labels) else [f"{label} {i}" for i, label in enumerate(labels, 1)]


def _brief(value: Any) -> str:
    return Path(value).name if isinstance(value, str) else str(value)


def _flat(values: JsonObject, prefix: str = "") -> Iterator[tuple[str, JsonValue]]:
    """Every value by its path."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def chosen_reference(arms: Mapping[str, Sequence[Run]], reference: str | None) -> str:
    """The arm that was asked for, else the first.

    Raises:
        TransferkitError: If there is no such arm.
    """
    if reference is None:
        return next(iter(arms))
    if reference not in arms:
        raise TransferkitError(f"reference {reference!r} is no arm. {did_you_mean(reference, arms)}")
    return reference
