"""How a command starts: with what it needs alone, and without looking through torch again and again."""

from __future__ import annotations

import gc
import sys

import pytest
from typer.testing import CliRunner

from transferkit.cli import app as cli
from transferkit.cli import terminal

NAMES = [cli.name_of(command) for command in cli.app.registered_commands]


def test_torch_is_imported_without_collections_and_left_out_of_those_to_come(monkeypatch: pytest.MonkeyPatch) -> None:
    collected: list[bool] = []
    left_out_before = gc.get_freeze_count()
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(terminal, "import_module", lambda _: collected.append(gc.isenabled()))

    terminal.import_torch()

    assert collected == [False]
    assert gc.get_freeze_count() > left_out_before
    assert gc.isenabled()


def test_collections_go_on_where_torch_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: str) -> None:
        raise ImportError

    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(terminal, "import_module", fail)

    with pytest.raises(ImportError):
        terminal.import_torch()

    assert gc.isenabled()


def test_torch_that_is_there_already_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    left_out_before = gc.get_freeze_count()
    monkeypatch.setattr(terminal, "import_module", lambda _: pytest.fail("imported again"))

    terminal.import_torch()

    assert gc.get_freeze_count() == left_out_before


def test_a_named_command_is_built_alone_and_help_with_all_others() -> None:
    for name in NAMES:
        program = cli.needed(cli.app, [name, "--help"])

        built = [cli.name_of(command) for command in program.registered_commands]
        assert built == (NAMES if name == "help" else [name])
    assert len(NAMES) >= 35


@pytest.mark.parametrize("arguments", [[], ["--version"], ["predictt"], ["recipes", "list"]])
def test_without_a_known_command_all_are_built(arguments: list[str]) -> None:
    assert cli.needed(cli.app, arguments) is cli.app


@pytest.mark.parametrize(
    "arguments", [["predict", "--help"], ["predict"], ["predict", "--thop", "3"], ["help", "predict"]]
)
def test_a_command_built_alone_says_what_it_says_among_the_others(arguments: list[str]) -> None:
    alone, among = (CliRunner().invoke(program, arguments) for program in (cli.needed(cli.app, arguments), cli.app))

    assert (alone.exit_code, alone.output) == (among.exit_code, among.output)
    assert "predict" in alone.output
