"""The calls of Python: the same words for every method, and mistakes told as anywhere."""

from __future__ import annotations

from inspect import signature

import pytest

import transferkit
from transferkit import api
from transferkit.errors import TransferkitError
from transferkit.estimates import announcement


def test_every_method_is_called_alike() -> None:
    parameters = list(signature(transferkit.finetune).parameters)

    assert parameters == ["backbone", "data", "out", "overwrite", "resume", "quiet", "options"]
    assert signature(transferkit.probe) == signature(transferkit.scratch) == signature(transferkit.finetune)


@pytest.mark.parametrize("quiet", [False, True])
def test_python_tells_what_the_command_line_tells_before_a_run(
    quiet: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(announcement, "of_long_run", lambda recipe: f"Estimate: {recipe.backbone.name}")
    monkeypatch.setattr(api, "run", lambda *_, **__: None)

    transferkit.scratch("resnet20", "digits", quiet=quiet)

    assert capsys.readouterr().err == ("" if quiet else "Estimate: resnet20\n")


@pytest.mark.parametrize("name", ["finetune", "probe", "scratch"])
def test_an_unknown_key_names_the_method_it_was_given_to(name: str) -> None:
    with pytest.raises(TransferkitError, match=f"transferkit {name}: unknown key 'method.epoch'"):
        getattr(transferkit, name)("resnet20", "digits", epoch=3)
