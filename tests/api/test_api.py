"""The calls of Python: the same words for every method, and mistakes told as anywhere."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from inspect import signature
from pathlib import Path

import pytest

import transferkit
from transferkit import report
from transferkit.recipe import Study
from transferkit.runtime.errors import TransferkitError
from transferkit.studies.compare import study
from transferkit.training.estimates import announcement


def test_every_method_is_called_alike() -> None:
    parameters = list(signature(transferkit.finetune).parameters)

    assert parameters == ["backbone", "data", "stages", "mean", "std", "out", "overwrite", "resume", "quiet", "options"]
    assert signature(transferkit.probe) == signature(transferkit.scratch) == signature(transferkit.finetune)


@pytest.mark.parametrize("quiet", [False, True])
def test_python_tells_what_the_command_line_tells_before_and_after_a_run(
    quiet: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(announcement, "of_long_run", lambda recipe: f"Estimate: {recipe.backbone.name}")
    monkeypatch.setattr(import_module("transferkit.run"), "run", lambda *_, **__: None)
    monkeypatch.setattr(report, "verdict", lambda _: "its verdict")

    transferkit.scratch("resnet20", "digits", quiet=quiet)

    assert capsys.readouterr().err == ("" if quiet else "Estimate: resnet20\nits verdict\n")


@pytest.mark.parametrize("name", ["finetune", "probe", "scratch"])
def test_an_unknown_key_names_the_method_it_was_given_to(name: str) -> None:
    with pytest.raises(TransferkitError, match=f"transferkit {name}: unknown key 'method.epoch'"):
        getattr(transferkit, name)("resnet20", "digits", epoch=3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: transferkit.scratch("resnet20", "digits", out=5),
            "transferkit.scratch: out is 5. Expected Path | str",
        ),
        (lambda: transferkit.finetune("resnet20", 5), "data is 5. Expected a data set's name, folder:PATH"),
        (lambda: transferkit.probe("resnet20", overwrite="no"), "transferkit.probe: overwrite is 'no'. Expected bool."),
        (lambda: transferkit.rank(5), "transferkit.rank: backbones is 5. Expected a list of names"),
        (lambda: transferkit.rank(["resnet20"], weights=[5]), "transferkit.rank: weights is [5]. Expected str"),
        (
            lambda: transferkit.compare(["resnet20"], "scratch"),
            "transferkit.compare: methods is 'scratch'. Expected a list",
        ),
        (lambda: transferkit.compare(["resnet20"], seeds="x"), "transferkit.compare: seeds is 'x'. Expected int."),
        (lambda: transferkit.limits(ood=5), "transferkit.limits: ood is 5. Expected Path | str | Sequence"),
        (lambda: transferkit.limits(seed="x"), "limits: seed is 'x'. Expected int."),
        (lambda: transferkit.limits(target_risk=float("nan")), "limits: target_risk is nan. Expected float."),
        (lambda: transferkit.export("run", 5), "Unknown"),
    ],
)
def test_an_argument_of_another_type_is_told_by_its_name(call: Callable[[], object], message: str) -> None:
    with pytest.raises(TransferkitError, match=re.escape(message)):
        call()


def test_every_public_name_is_there_and_none_is_missing_from_the_list() -> None:
    assert sorted(transferkit._PLACES) == transferkit.__all__
    assert {name for name in transferkit.__all__ if getattr(transferkit, name).__name__ != name} == set()


def test_a_label_curve_in_python_is_the_study_of_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    studies: list[Study] = []
    monkeypatch.setattr(study, "run_study", lambda asked, *_, **__: studies.append(asked))

    transferkit.curve("resnet20", ["scratch"], "digits", labels=[5, "all"], seeds=2, quiet=True)

    assert studies[0].labels == (5, "all")
    assert (studies[0].name, studies[0].budget, studies[0].seeds) == ("curve-digits", "500steps", 2)


def test_labels_in_python_are_asked_of_a_finished_run(tmp_path: Path) -> None:
    with pytest.raises(TransferkitError, match=r"is no run: it has no recipe\.yaml"):
        transferkit.labels(tmp_path)


def test_a_recipe_is_read_from_yaml_and_written_back() -> None:
    text = "{data: digits, backbone: {name: resnet20}, method: {name: scratch, lr: 1e-2}}"

    recipe = transferkit.Recipe.from_yaml(text)

    assert recipe.method.lr == 0.01
    assert transferkit.Recipe.from_yaml(recipe.to_yaml()) == recipe


def test_a_yaml_text_without_keys_is_no_recipe() -> None:
    with pytest.raises(TransferkitError, match=r"recipe holds no recipe\. Expected keys data, backbone and method"):
        transferkit.Recipe.from_yaml("[1, 2]")
