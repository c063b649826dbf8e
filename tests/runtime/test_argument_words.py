"""Errors of Python calls name arguments, not options of the command line."""

from __future__ import annotations

import pytest

from transferkit.runtime.argument_types import in_python, in_python_words
from transferkit.runtime.errors import MachineError


@pytest.mark.parametrize(
    ("typed", "in_words"),
    [
        ("Use --weights none, or --weights FILE.", "Use weights='none', or weights=FILE."),
        ("with --out, or replace it with --overwrite.", "with out=..., or replace it with overwrite=True."),
        ("`transferkit limits RUN --size 64`, --size 64", "`transferkit limits RUN --size 64`, size=64"),
        ("Type: pip install --upgrade transferkit", "Type: pip install --upgrade transferkit"),
    ],
)
def test_options_become_arguments_outside_of_commands(typed: str, in_words: str) -> None:
    assert in_python(typed) == in_words


def test_an_error_keeps_its_kind() -> None:
    with pytest.raises(MachineError, match="weights=FILE"), in_python_words():
        raise MachineError("Use --weights FILE.")
