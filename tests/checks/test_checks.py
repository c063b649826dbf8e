"""Every check of the registry catches its fault, is silent on clean runs, and can be muted."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from planted_faults import FAULTS, clean

from transferkit import checks
from transferkit.checks.finding import SEVERITIES
from transferkit.checks.next_steps import next_steps
from transferkit.checks.subject import CheckedRun
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
