"""Every check of the registry catches its fault, is silent on clean runs, and can be muted."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from planted_faults import FAULTS, answering, clean, facts_of, few, parts_of, recipe_of
from synthetic_runs import outputs

from transferkit.data.split_facts import ClassCounts
from transferkit.metrics.outputs import Outputs
from transferkit.recipe import Recipe
from transferkit.runs import checks
from transferkit.runs.checks.early import early_checks
from transferkit.runs.checks.finding import SEVERITIES
from transferkit.runs.checks.next_steps import next_steps
from transferkit.runs.checks.subject import CheckedRun
from transferkit.runs.facts import FirstLoss, MirrorLoss, StartFacts
from transferkit.runtime.console import Console
from transferkit.runtime.errors import TransferkitError


def test_every_check_has_a_number_in_a_row_and_a_planted_fault() -> None:
    assert list(checks.CHECKS) == [f"TK{number:03}" for number in range(1, len(checks.CHECKS) + 1)]
    assert list(FAULTS) == list(checks.CHECKS)


@pytest.mark.parametrize("code", checks.CHECKS)
def test_a_check_catches_its_planted_fault_with_its_numbers(code: str) -> None:
    finding = checks.CHECKS[code].finding(code, FAULTS[code])

    assert finding is not None
    assert re.search(r"\d|“|'", finding.observed)
    assert not finding.sentence.endswith("..")


@pytest.mark.parametrize("code", checks.CHECKS)
@pytest.mark.parametrize("method", ["finetune", "probe", "scratch"])
def test_a_check_is_silent_on_a_clean_run(code: str, method: str) -> None:
    assert checks.CHECKS[code].finding(code, clean(method)) is None


@pytest.mark.parametrize("code", checks.CHECKS)
def test_a_check_is_silent_where_nothing_is_known(code: str) -> None:
    assert checks.CHECKS[code].finding(code, CheckedRun()) is None


@pytest.mark.parametrize("code", checks.CHECKS)
def test_a_check_can_be_muted_and_has_a_page(code: str) -> None:
    check = checks.CHECKS[code]

    assert code in [finding.code for finding in checks.findings(FAULTS[code])]
    assert code not in [finding.code for finding in checks.findings(FAULTS[code], ignored=[code])]
    assert check.severity in SEVERITIES
    assert re.fullmatch(r"[A-Z][^.]*", check.title)
    assert len(check.about.split()) > 15


@pytest.mark.parametrize(("near", "speaks"), [(15, False), (16, True)])
def test_near_copies_are_told_where_they_change_an_accuracy_by_more_than_its_interval(near: int, speaks: bool) -> None:
    """120 of 240 right: Wilson's interval goes from 43.7 to 56.3 %, 6.3 points or 15.06 images to each side."""
    names = [f"test/cat/{number}.png" for number in range(near)]
    run = parts_of(n=ClassCounts((700,), (60,), (240,)), near_copies=few(*names, of=240))

    assert ("TK023" in [finding.code for finding in checks.findings(run)]) is speaks


@pytest.mark.parametrize(
    ("recipe", "remedy"),
    [(recipe_of("finetune"), "method.logit_adjustment=1"), (recipe_of("probe"), "method.class_weight=balanced")],
)
def test_uneven_classes_are_told_with_the_best_remedy_that_the_method_has(recipe: Recipe, remedy: str) -> None:
    finding = checks.CHECKS["TK021"].finding("TK021", replace(FAULTS["TK021"], recipe=recipe))

    assert finding is not None
    assert remedy in finding.command


@pytest.mark.parametrize("keys", [{"class_weight": "balanced"}, {"sampler": "balanced"}, {"logit_adjustment": 0.5}])
def test_uneven_classes_are_not_told_where_something_is_done_about_them(keys: dict[str, object]) -> None:
    run = replace(FAULTS["TK021"], recipe=recipe_of("finetune", **keys))

    assert checks.CHECKS["TK021"].finding("TK021", run) is None


@pytest.mark.parametrize("code", [code for code, check in checks.CHECKS.items() if check.is_early])
def test_an_early_check_needs_nothing_that_comes_after_the_fit(code: str) -> None:
    fault = FAULTS[code]
    before = CheckedRun(fault.place, fault.recipe, fault.facts)
    random = recipe_of(weights="none") if code == "TK013" else before.recipe

    assert code in [finding.code for finding in checks.early_findings(replace(before, recipe=random))]


def test_an_early_finding_is_said_once_and_what_was_observed_stays() -> None:
    stream = io.StringIO()
    loud = StartFacts(first_loss=FirstLoss(6.3, 4))
    watch = early_checks(recipe_of("scratch"), facts_of(), "RUN", Console(stream=stream))

    watch.observe(loud)
    watch.observe(StartFacts(mirroring=MirrorLoss(0.0, -0.1, 0.1)))

    assert " ".join(stream.getvalue().split()).count("TK031 First loss far from chance. Before the first step") == 1
    assert watch.start == StartFacts(loud.first_loss, MirrorLoss(0.0, -0.1, 0.1))


def test_a_muted_check_is_silent_before_training_too() -> None:
    stream, muted = io.StringIO(), recipe_of("scratch").model_copy(update={"ignore": ("TK022",)})

    early_checks(muted, FAULTS["TK022"].facts or facts_of(), "RUN", Console(stream=stream))

    assert stream.getvalue() == ""


@pytest.mark.parametrize(("loss", "speaks"), [(6.0, True), (3.3, False), (0.7, False), (0.65, True)])
def test_the_first_loss_is_far_above_chance_by_two_nats_and_far_below_at_half(loss: float, speaks: bool) -> None:
    first = FirstLoss(loss, 4)  # ln 4 = 1.386

    finding = checks.CHECKS["TK031"].finding("TK031", CheckedRun(facts=facts_of(start=StartFacts(first))))

    assert (finding is not None) is speaks


def test_ten_missed_images_are_no_surprise_in_a_difficult_task_with_many_classes() -> None:
    """At 46 % accuracy a class found half as often misses ten of ten in 7 % of cases, and there are 20 classes."""
    names = tuple(f"class {number}" for number in range(20))
    hard = answering(clean(), outputs(names, per_class=10, wrong=5, labels=None))
    hard = answering(clean(), replace(hard.test, logits=never_first(hard.test)))

    assert [row.name for row in hard.scores.per_class if row.recall == 0] == ["class 0"]
    assert checks.CHECKS["TK007"].finding("TK007", hard) is None


def never_first(test: Outputs) -> npt.NDArray[np.float32]:
    """Logits that answer class 1 wherever they answered class 0."""
    logits = test.logits.copy()
    is_first = logits.argmax(1) == 0
    logits[is_first, 1] = logits[is_first].max(1) + 1
    return logits


def test_the_most_serious_finding_comes_first() -> None:
    run = replace(FAULTS["TK003"], facts=FAULTS["TK004"].facts)

    assert [finding.code for finding in checks.findings(run)] == ["TK004", "TK003"]


def test_a_code_that_does_not_exist_is_refused_with_the_nearest() -> None:
    with pytest.raises(
        TransferkitError, match=r"ignore: there is no check 'TKOO7'\. Did you mean 'TK\d+'\? Available: TK001"
    ):
        checks.require_codes(["TK001", "TKOO7"])


def test_next_steps_are_two_to_four_and_end_with_a_usual_way_on() -> None:
    runs = [clean(), *FAULTS.values()]

    for run in runs:
        steps = next_steps(run, checks.findings(run))
        assert 2 <= len(steps) <= 4
        assert steps[-1].command.startswith(("transferkit limits RUN", "transferkit predict RUN PHOTOS"))
