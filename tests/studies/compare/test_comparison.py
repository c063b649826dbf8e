"""Comparisons: what the numbers of an arm are, who wins and when nobody does, and what cannot be compared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from arms import COSTS, finished, outputs, recipe, shares
from statsmodels.stats.contingency_tables import mcnemar
from synthetic_runs import FACTS

from transferkit.metrics.grouped import share_interval
from transferkit.metrics.statistics import holm, mean_accuracy_interval, paired_difference
from transferkit.runs.run_directory import Run
from transferkit.runtime.errors import TransferkitError
from transferkit.studies.compare import words
from transferkit.studies.compare.measure import agreement, compare, leaders
from transferkit.studies.compare.page import comparison_page, comparison_verdict
from transferkit.studies.compare.results import ArmPair
from transferkit.studies.compare.same_data import arms_of, chosen_reference, finished_runs, require_same_data


def arm(folder: Path, method: str, *correct: Sequence[int], **keys: Any) -> list[Run]:
    """One run per seed."""
    made = enumerate(correct)
    return [finished(folder / f"{method}-{seed}", recipe(method, seed, **keys), answers) for seed, answers in made]


@pytest.fixture
def three(tmp_path: Path) -> dict[str, list[Run]]:
    """Of 100 images scratch gets 50, the probe 80 and fine-tuning 80 and 82 right; two seeds each."""
    return {
        "scratch": arm(tmp_path, "scratch", shares((1, 50), (0, 50)), shares((1, 50), (0, 50))),
        "probe": arm(tmp_path, "probe", shares((1, 80), (0, 20)), shares((1, 80), (0, 20))),
        "finetune": arm(tmp_path, "finetune", shares((1, 80), (0, 20)), shares((1, 82), (0, 18))),
    }


# ---- the numbers of an arm ----


def test_an_arm_has_mean_sd_and_interval(three: dict[str, list[Run]]) -> None:
    row = compare(three, "scratch").arms[2]

    assert row.name == "finetune"
    assert (row.accuracies, row.mean) == ((0.80, 0.82), pytest.approx(0.81))
    assert row.sd == pytest.approx(0.02 / np.sqrt(2))  # two values 0.02 apart, n - 1
    correct = np.array([shares((1, 80), (0, 20)), shares((1, 82), (0, 18))], dtype=bool)
    expected = mean_accuracy_interval(correct)
    assert row.interval == pytest.approx([expected.low, expected.high])


def test_an_arm_tells_what_it_cost(three: dict[str, list[Run]]) -> None:
    row = compare(three, "scratch").arms[0]

    assert (row.trained_parameters, row.fit_seconds, row.length) == (5130, 61.5, "3 epochs")
    assert {key: getattr(row, key) for key in ("flops_per_image", "training_flops", "peak_memory_bytes")} == {
        key: COSTS[key] for key in ("flops_per_image", "training_flops", "peak_memory_bytes")
    }
    assert row.test_openings == 2
    assert [(epoch.step, epoch.seconds) for epoch in row.history] == [(10, 5.0), (20, 10.0), (30, 15.0)]


def test_a_run_that_does_not_know_its_costs_leaves_them_open(tmp_path: Path) -> None:
    runs = arm(tmp_path, "scratch", [1, 0])
    runs[0].write_json("facts", FACTS)

    row = compare({"scratch": [Run(runs[0].path)], "probe": arm(tmp_path, "probe", [1, 1])}, "scratch").arms[0]

    assert [getattr(row, key) for key in ("flops_per_image", "predicted_images_per_second", "peak_memory_bytes")] == [
        None
    ] * 3


def test_recalls_are_per_class_means_over_seeds(tmp_path: Path) -> None:
    # labels are 0, 1, 0, 1: class 0 has images 0 and 2, class 1 has 1 and 3
    arms = {"a": arm(tmp_path, "scratch", [1, 1, 0, 1], [1, 1, 1, 0]), "b": arm(tmp_path, "probe", [1] * 4, [1] * 4)}

    assert compare(arms, "a").arms[0].recalls == (0.75, 0.75)


# ---- differences ----


def test_differences_carry_one_p_of_all_seeds_adjusted_by_holm_over_all_pairs(three: dict[str, list[Run]]) -> None:
    found = compare(three, "scratch")

    correct = {
        name: np.stack([run.outputs("test").predictions == run.outputs("test").labels for run in runs])
        for name, runs in three.items()
    }
    expected = [paired_difference(correct[pair.a], correct[pair.b], "seeds") for pair in found.pairs]
    assert [pair.p for pair in found.pairs] == [one.p for one in expected]
    assert [pair.interval for pair in found.pairs] == [(x.interval.low, x.interval.high) for x in expected]
    assert [pair.p_holm for pair in found.pairs] == pytest.approx(holm([one.p for one in expected]))
    assert found.arms[1].difference.mean == pytest.approx(0.30)


def test_two_single_runs_carry_what_mcnemar_counts(three: dict[str, list[Run]]) -> None:
    found = compare({name: runs[:1] for name, runs in three.items()}, "scratch")

    # 30 images are got by probe and fine-tuning alone against scratch: 30^2 / (30 + 2), chi-squared
    p = float(mcnemar([[0, 31], [1, 0]], exact=False, correction=False).pvalue)
    assert found.arms[1].difference.discordant == (30, 0)
    assert found.arms[1].difference.p == pytest.approx(p)


def test_what_mcnemar_counts_is_seen_from_the_arm_of_the_row(three: dict[str, list[Run]]) -> None:
    single = {name: three[name][:1] for name in ("probe", "scratch")}

    assert compare(single, "probe").arms[1].difference.discordant == (0, 30)


def test_renumbering_the_seeds_changes_nothing(tmp_path: Path) -> None:
    right = [70, 74, 79, 80]
    answers = [shares((1, count), (0, 100 - count)) for count in right]
    other = arm(tmp_path, "probe", *[shares((0, 4), (1, 70), (0, 26))] * 4)

    found = [
        compare({"a": arm(tmp_path / str(turn), "scratch", *answers[turn:], *answers[:turn]), "b": other}, "b")
        for turn in range(4)
    ]

    assert len({(one.verdict, repr(one.pairs)) for one in found}) == 1


def test_one_run_each_is_never_a_claim_about_the_methods(three: dict[str, list[Run]]) -> None:
    single = {name: runs[:1] for name, runs in three.items()}

    two = compare({name: single[name] for name in ("scratch", "probe")}, "scratch").verdict
    all_three = compare(single, "scratch").verdict

    assert two.startswith("This run of probe is better than this run of scratch: +30.0 points (")
    assert all_three.startswith("No clear winner: this run of probe and this run of finetune cannot be told apart;")


def test_the_difference_of_a_worse_arm_is_negative_with_its_interval_turned(three: dict[str, list[Run]]) -> None:
    from_scratch = compare(three, "scratch").arms[1].difference
    from_probe = next(row for row in compare(three, "probe").arms if row.name == "scratch").difference

    assert from_probe.mean == -from_scratch.mean
    assert from_probe.interval == tuple(-bound for bound in from_scratch.interval[::-1])


def test_two_seeds_everywhere_make_intervals_over_seeds_and_one_makes_them_over_images(tmp_path: Path) -> None:
    two = {"a": arm(tmp_path, "scratch", [1, 0], [1, 1]), "b": arm(tmp_path, "probe", [1, 1], [0, 1])}
    one = {"a": two["a"], "b": two["b"][:1]}

    assert (compare(two, "a").over, compare(one, "a").over) == ("seeds", "images")


def test_an_interval_over_seeds_from_one_seed_is_refused(tmp_path: Path) -> None:
    arms = {"a": arm(tmp_path, "scratch", [1, 0], [1, 1]), "b": arm(tmp_path, "probe", [1, 1])}

    with pytest.raises(TransferkitError) as error:
        compare(arms, "a", "seeds")

    assert str(error.value) == (
        "An interval over seeds needs at least two seeds of every arm; b has one. Use --seeds 3, or --over images."
    )


# ---- the verdict ----


def test_a_winner_is_named_only_where_it_is_shown(three: dict[str, list[Run]]) -> None:
    found = compare(three, "scratch")

    assert found.leaders == ("finetune", "probe")
    assert found.verdict.startswith("No clear winner: finetune and probe cannot be told apart;")
    assert "(95 % intervals over seeds and images, n = 100, 2 seeds)." in found.verdict


def test_the_winner_is_better_than_every_other_arm(three: dict[str, list[Run]]) -> None:
    found = compare({"scratch": three["scratch"], "best": three["probe"]}, "scratch")

    assert found.leaders == ("best",)
    # both seeds answer alike, so the interval is that over images: all d that (30 - 100 d)^2 / (sum of squares around
    # d, and 2) does not put beyond 1.96^2
    answers = [1.0] * 30 + [0.0] * 70
    kept = [
        d
        for d in np.arange(0, 1, 0.0001)
        if sum(x - d for x in answers) ** 2 <= 1.959964**2 * (sum((x - d) ** 2 for x in answers) + 2)
    ]
    assert (round(100 * kept[0], 1), round(100 * kept[-1], 1)) == (20.4, 39.6)
    assert found.verdict.startswith("best is better than scratch: +30.0 points (+20.4 to +39.6)")


def test_equal_arms_show_no_difference_at_this_n_and_these_seeds(tmp_path: Path) -> None:
    same = [1, 1, 0, 1]
    arms = {name: arm(tmp_path, name, same, same, same) for name in ("scratch", "probe")}

    verdict = compare(arms, "scratch").verdict

    # half the interval would be 1.96 * sqrt(2 / 4 / (4 - 1.96^2)), 348 points: four images leave all open
    assert verdict == (
        "No difference shown between probe and scratch: +0.0 points (-100.0 to +100.0) (95 % intervals over seeds and "
        "images, n = 4, 3 seeds)."
    )


def test_leaders_are_those_that_nobody_is_shown_to_beat() -> None:
    pairs = [
        ArmPair(a, b, mean=0.1, interval=(0.0, 0.2), p=0.5, p_holm=0.5, shown=shown)
        for a, b, shown in (("x", "y", False), ("x", "z", True), ("y", "z", False))
    ]

    assert leaders(["x", "y", "z"], pairs) == ("x", "y")


def test_agreement_is_the_share_of_a_rows_errors_that_the_column_makes_too() -> None:
    a = np.array([[1, 1, 1, 1, 0, 0], [1, 1, 0, 0, 0, 0]], dtype=bool)  # errors of two seeds
    b = np.array([[1, 0, 0, 0, 1, 1]], dtype=bool)

    shares_of = agreement([a, b])

    # a's seeds: 2 of the first's 4 errors, 2 of the second's 2; with b 1 of 4 and 1 of 2; back 1 of 3 twice
    assert shares_of == ((pytest.approx(0.75), pytest.approx(0.375)), (pytest.approx(1 / 3), None))


def test_other_machines_and_versions_are_noted(tmp_path: Path, three: dict[str, list[Run]]) -> None:
    here = three["scratch"]
    other = finished(tmp_path / "there", recipe("probe"), shares((1, 50), (0, 50)))
    other.write_json(
        "environment", {"packages": {"transferkit": "0.0.9"}, "device": "GPU", "precision": "bf16", "threads": 8}
    )

    notes = compare({"scratch": here, "probe": [other]}, "scratch").notes

    assert notes == (
        "Made with several versions of transferkit: 0.0.9, 0.1.0.",
        "Made on several machines, so times and memory do not compare: CPU, fp32, 1 thread; GPU, bf16, 8 threads.",
    )


# ---- which runs may be compared ----


def test_runs_become_arms_by_their_recipe_apart_from_the_seed(tmp_path: Path) -> None:
    runs = [*arm(tmp_path, "scratch", [1, 0], [1, 1]), *arm(tmp_path, "probe", [1, 0])]

    arms = arms_of(finished_runs([run.path for run in reversed(runs)]))

    assert {name: [run.recipe.seed for run in members] for name, members in arms.items()} == {
        "probe-resnet20": [0],
        "scratch-resnet20": [0, 1],
    }


def test_arms_of_one_method_are_told_apart_by_what_differs(tmp_path: Path) -> None:
    paths = [finished(tmp_path / str(lr), recipe("finetune", lr=lr), [1, 0]).path for lr in (0.1, 0.2)]

    assert list(arms_of(finished_runs(paths))) == ["finetune-resnet20 (lr=0.1)", "finetune-resnet20 (lr=0.2)"]


def refused(*paths: Path) -> str:
    with pytest.raises(TransferkitError) as error:
        arms_of(_checked(paths))
    return str(error.value)


def _checked(paths: Sequence[Path]) -> list[Run]:
    runs = finished_runs(paths)
    require_same_data(runs)
    return runs


def test_no_such_run_says_what_was_expected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a long path is shortened in messages

    assert refused(Path("nowhere")) == (
        "nowhere is no run: there is no such folder. Expected a folder that a transferkit command made."
    )


def test_an_unfinished_run_is_refused(tmp_path: Path) -> None:
    run = finished(tmp_path / "a", recipe(), [1, 0])
    (run.path / "evaluation.json").unlink()

    assert refused(run.path) == f"The run {run.path} did not finish. Continue it with the same command and --resume."


def test_a_run_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    run = finished(tmp_path / "a", recipe(), [1, 0], format=99)

    assert refused(run.path) == (
        f"A newer transferkit wrote {run.path}. Upgrade with: pip install --upgrade transferkit"
    )


def test_one_run_twice_is_refused(tmp_path: Path) -> None:
    run = finished(tmp_path / "a", recipe(), [1, 0])

    assert refused(run.path, tmp_path / "." / "a") == f"{run.path} is there twice. Name every run once."


def test_two_runs_of_one_experiment_are_refused(tmp_path: Path) -> None:
    a, b, c = (
        finished(tmp_path / name, recipe(m), [1, 0])
        for name, m in zip("abc", ("probe", "probe", "scratch"), strict=True)
    )

    assert refused(a.path, b.path, c.path) == (
        f"{a.path} and {b.path} are the same experiment: the same recipe with seed 0. Leave one out, or make it again "
        "with another --seed."
    )


def test_runs_of_one_recipe_alone_leave_nothing_to_compare(tmp_path: Path) -> None:
    paths = [run.path for run in arm(tmp_path, "probe", [1, 0], [1, 1])]

    assert refused(*paths) == (
        "2 runs with one recipe apart from the seed: there is nothing to compare. Add runs of "
        "another method or backbone."
    )


def test_runs_on_other_images_are_refused_with_the_part_that_differs(tmp_path: Path) -> None:
    other = {**FACTS["data"], "n": {"train": 20, "val": 40, "test": 40}}
    other["fingerprint"] = {**FACTS["data"]["fingerprint"], "train": "dd" * 32}
    a = finished(tmp_path / "a", recipe("probe"), [1, 0])
    b = finished(tmp_path / "b", recipe("scratch"), [1, 0], data=other)

    assert refused(a.path, b.path) == (
        f"{a.path} and {b.path} were not made on the same images: their train parts differ (100 and 20 images). Make "
        "both with the same --data, --limit-per-class, --val-fraction and --split-seed; for several numbers of labels "
        "there is `transferkit curve`."
    )


def test_runs_with_other_classes_are_refused_with_the_classes(tmp_path: Path) -> None:
    a = finished(tmp_path / "a", recipe("probe"), [1, 0], ("cat", "dog"))
    b = finished(tmp_path / "b", recipe("scratch"), [1, 0], ("cat", "fox"))

    assert refused(a.path, b.path) == (
        f"{a.path} and {b.path} have different classes: only the first has 'dog', only the second 'fox'. Compare runs "
        "that were made on the same data."
    )


def test_runs_tested_on_other_images_are_refused(tmp_path: Path) -> None:
    arms = {"a": arm(tmp_path, "scratch", [1, 0]), "b": arm(tmp_path, "probe", [1, 0, 1])}

    with pytest.raises(TransferkitError, match=r"b and a were tested on different images \(3 and 2\), so they cannot"):
        compare(arms, "a")


def test_an_unknown_reference_names_the_arms(three: dict[str, list[Run]]) -> None:
    with pytest.raises(TransferkitError, match=r"reference 'prob' is no arm. Did you mean 'probe'\? Available: finetu"):
        chosen_reference(three, "prob")


# ---- images that belong together ----


def regroup(runs: Sequence[Run], groups: tuple[str, ...] | None) -> None:
    """Store what the test images of finished runs belong to."""
    for run in runs:
        right = run.outputs("test").is_right
        run.save_outputs({"test": outputs(right.tolist(), groups=groups)})


@pytest.fixture
def patients(tmp_path: Path) -> dict[str, list[Run]]:
    """Ten patients with ten pictures each; fine-tuning knows two more of them than the probe."""
    arms = {
        "probe": arm(tmp_path, "probe", shares((1, 60), (0, 40))),
        "finetune": arm(tmp_path, "finetune", shares((1, 80), (0, 20))),
    }
    for runs in arms.values():
        regroup(runs, tuple(f"patient {number // 10}" for number in range(100)))
    return arms


def test_of_images_that_belong_together_whole_groups_are_compared(patients: dict[str, list[Run]]) -> None:
    found = compare(patients, "probe")

    pair = found.pairs[0]
    correct = [np.array([shares((1, n), (0, 100 - n))], bool) for n in (80, 60)]
    groups = [str(number // 10) for number in range(100)]
    expected = paired_difference(correct[0], correct[1], "images", groups=groups)
    assert (pair.p, *pair.interval) == pytest.approx((expected.p, *expected.interval.bounds))
    assert not pair.shown  # two patients of ten
    assert paired_difference(correct[0], correct[1], "images").p < 1e-4  # twenty images to nothing
    assert found.groups == 10
    assert found.arms[1].interval == share_interval(correct[0][0], groups).bounds


def test_the_words_say_groups_instead_of_images(patients: dict[str, list[Run]], tmp_path: Path) -> None:
    found = compare(patients, "probe")

    page, markdown = comparison_page(found, tmp_path), words.markdown(found)

    assert "95 % intervals over groups, n = 100 in 10 groups, 1 seed" in found.verdict
    assert "over the 10 groups that the test images come in" in markdown
    assert "p is McNemar's test for clustered pairs, with one group more on either side" in markdown
    for text in (page, markdown):
        assert "n = 100 test images in 10 groups" in text
        assert "on other groups?" in text
        assert "over images" not in text
    assert "over images" not in str(comparison_verdict(found))


def test_runs_whose_images_are_in_other_groups_are_refused(patients: dict[str, list[Run]]) -> None:
    regroup(patients["finetune"], tuple(str(number) for number in range(100)))

    with pytest.raises(TransferkitError, match="finetune and probe were tested on the same images in different groups"):
        compare(patients, "probe")


def test_groups_that_one_arm_knows_hold_for_all(patients: dict[str, list[Run]]) -> None:
    regroup(patients["finetune"], None)

    assert compare(patients, "probe").groups == 10
