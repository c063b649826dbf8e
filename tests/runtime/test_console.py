"""What a person watching sees: a line per phase, details on request, a small curve, and nothing that steers a pipe."""

from __future__ import annotations

import io

import pytest
from rich.console import Console as RichConsole
from rich.console import Group
from rich.text import Text

from transferkit.runtime.console import RESULTS_ON_STDOUT, SHOWS_DETAILS, Console
from transferkit.runtime.sparkline import sparkline


def said_by(console: Console) -> str:
    assert isinstance(console.stream, io.StringIO)
    return console.stream.getvalue()


def terminal() -> Console:
    """A console on a terminal of 80 columns."""
    console = Console(stream=io.StringIO(), verbose=False)
    console._rich = RichConsole(file=console.stream, force_terminal=True, width=80, color_system=None)
    return console


@pytest.mark.parametrize(("verbose", "expected"), [(True, "inside\nalways\n"), (False, "always\n")])
def test_details_are_shown_on_request(verbose: bool, expected: str) -> None:
    console = Console(stream=io.StringIO(), verbose=verbose)

    console.detail("inside")
    console.line("always")

    assert said_by(console) == expected


@pytest.mark.parametrize(("verbose", "lines"), [(True, 1), (False, 0)])
def test_the_pass_of_a_network_leaves_a_line_on_request(verbose: bool, lines: int) -> None:
    console = Console(stream=io.StringIO(), verbose=verbose)

    with console.progress("val", 3, is_detail=True) as bar:
        bar.advance(3)

    assert said_by(console).count("val: 3/3 img") == lines


def test_a_pipe_gets_a_phase_as_one_plain_line_with_words_and_without_the_curve() -> None:
    console = Console(stream=io.StringIO(), verbose=False)

    with console.progress("training", 2) as bar:
        bar.curve = "val ▁█ 70.0 %"
        bar.tell("epoch 1/2: loss 0.5")  # the last word is less than ten seconds old
        bar.advance(2, "2 epochs")

    (line,) = said_by(console).splitlines()
    assert line.startswith("training: 2/2 img in ")
    assert line.endswith(" | 2 epochs")
    assert line.isprintable()


def test_a_terminal_shows_the_curve_beside_the_bar_and_epochs_on_request_alone() -> None:
    console = terminal()

    with console.progress("epoch 2/2", 2) as bar:
        bar.curve = "val ▁█ 70.0 %"
        bar.last_told -= 100
        bar.tell("epoch 1/2: loss 0.5")
        bar.advance(1, "loss 0.5")
        bar._live.refresh()

    assert "loss 0.5  val ▁█ 70.0 %" in said_by(console)
    assert "epoch 1/2" not in said_by(console)
    assert max(map(len, said_by(console).replace("\r", "\n").splitlines())) <= 100  # with the codes that draw the bar


def test_what_several_runs_share_is_said_once_as_wide_as_the_terminal() -> None:
    console = terminal()
    hint = "TK011 No val images. All 30 labelled images were learnt from and none was set aside: set a tenth aside."

    console.once(hint)
    console.once(hint)

    first, second = said_by(console).splitlines()
    assert len(first) <= 80
    assert second.startswith("  ")
    assert f"{first} {second.strip()}" == hint


def test_a_path_wider_than_the_screen_is_not_cut() -> None:
    console = terminal()

    console.show(Group(Text("file:///" + "x" * 200, no_wrap=True, overflow="ignore")))

    assert "x" * 200 in said_by(console)


def test_a_console_is_verbose_inside_a_command_that_was_asked_to_be() -> None:
    token = SHOWS_DETAILS.set(True)
    try:
        assert Console().verbose
    finally:
        SHOWS_DETAILS.reset(token)
    assert not Console().verbose


def test_a_long_curve_has_the_means_of_its_stretches() -> None:
    assert sparkline([0.0, 0.0, 1.0, 1.0], width=2) == "▁█"
    assert len(sparkline([0.1 * number for number in range(37)])) == 10


@pytest.mark.parametrize(
    ("of_a_command", "expected"), [(True, ("a table\n", "working\n")), (False, ("", "working\na table\n"))]
)
def test_results_of_a_command_are_on_stdout_and_of_a_call_on_stderr(
    of_a_command: bool, expected: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    token = RESULTS_ON_STDOUT.set(of_a_command)
    try:
        console = Console()
        console.line("working")
        console.result(Text("a table"))
    finally:
        RESULTS_ON_STDOUT.reset(token)

    assert tuple(capsys.readouterr()) == expected


def test_a_quiet_console_shows_no_result(capsys: pytest.CaptureFixture[str]) -> None:
    token = RESULTS_ON_STDOUT.set(True)
    try:
        Console(quiet=True).result("verdict", Text("a table"))
    finally:
        RESULTS_ON_STDOUT.reset(token)

    assert tuple(capsys.readouterr()) == ("", "")
