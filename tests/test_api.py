"""The calls of Python: the same words for every method, and mistakes told as anywhere."""

from __future__ import annotations

from inspect import signature

import pytest

import transferkit
from transferkit.errors import TransferkitError


def test_every_method_is_called_alike() -> None:
    parameters = list(signature(transferkit.finetune).parameters)

    assert parameters == ["backbone", "data", "out", "overwrite", "resume", "quiet", "options"]
    assert signature(transferkit.probe) == signature(transferkit.scratch) == signature(transferkit.finetune)


@pytest.mark.parametrize("name", ["finetune", "probe", "scratch"])
def test_an_unknown_key_names_the_method_it_was_given_to(name: str) -> None:
    with pytest.raises(TransferkitError, match=f"transferkit {name}: unknown key 'method.epoch'"):
        getattr(transferkit, name)("resnet20", "digits", epoch=3)
