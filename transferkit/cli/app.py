"""The command line: its commands, and what an error becomes. torch is imported inside commands only."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from copy import copy
from typing import Annotated

import typer
from typer.main import get_command_name
from typer.models import CommandInfo

from transferkit import __version__
from transferkit.cli import (
    benchmark,
    card,
    compare,
    corrupt,
    doctor,
    export,
    features,
    finished,
    help_command,
    lab,
    lab_group,
    labels,
    limits,
    listings,
    lr_find,
    next_images,
    predict,
    rank,
    recipes,
    replay,
    run_list,
    runs,
    serve,
    soup,
    tune,
    verify,
)
from transferkit.cli.ending import exit_code_of, heeding_sigterm
from transferkit.cli.help_pages import give_pages
from transferkit.cli.names_with_spaces import quotes_needed
from transferkit.cli.processes import end_now, has_others, speaks, together
from transferkit.runtime.console import printable
from transferkit.runtime.errors import Stopped, TransferkitError

LONGEST_FAULT = 500  # characters of an error that is not ours

app = typer.Typer(
    help="Transfer learning with evidence: fine-tune, probe and compare image classifiers, and see their limits.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for group in (
    runs,
    run_list,
    replay,
    compare,
    rank,
    tune,
    lr_find,
    finished,
    predict,
    serve,
    export,
    benchmark,
    card,
    limits,
    labels,
    next_images,
    soup,
    verify,
    corrupt,
    lab,
    lab_group,
    features,
    listings,
    doctor,
    recipes,
    help_command,
):
    group.register(app)
give_pages(app)


def print_version(asked: bool) -> None:
    """Print name and version, and end."""
    if asked:
        print(f"transferkit {__version__}")
        raise typer.Exit


@app.callback()
def whole_program(
    version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """The options of the program itself; `app` has its help."""


def needed(program: typer.Typer, arguments: Sequence[str]) -> typer.Typer:
    """The program with the command that is named alone, if that needs no other: to build all takes 0.1 s."""
    command = [known for known in program.registered_commands if arguments[:1] == [name_of(known)]]
    if not command or command[0].callback is help_command.show_help or not program.registered_callback:
        return program  # without options of its own, a program of one command would take no command's name
    alone = copy(program)
    alone.registered_commands, alone.registered_groups = command, []
    return alone


def name_of(command: CommandInfo) -> str:
    """What is typed for a command: its name, else that of its function as Typer writes it."""
    return command.name or get_command_name(getattr(command.callback, "__name__", ""))


def main() -> None:
    """The console script: errors become one message and an exit code: 2 a mistake, 1 ours, 130 Ctrl-C, 143 SIGTERM."""
    debug = "--debug" in sys.argv
    sys.argv = [argument for argument in sys.argv if argument != "--debug"]
    try:
        with heeding_sigterm(), together():
            needed(app, sys.argv[1:])()
    except TransferkitError as error:
        if debug:
            raise
        hint = quotes_needed(sys.argv[1:]) if error.exit_code == TransferkitError.exit_code else ""
        sys.exit(_failed(f"{error} {hint}".rstrip(), exit_code_of(error.exit_code)))
    except SystemExit as end:  # Typer has said what it cannot read
        if end.code == TransferkitError.exit_code and (hint := quotes_needed(sys.argv[1:])):
            print(printable(hint), file=sys.stderr)
        raise
    except KeyboardInterrupt:  # once more, while the first one was being heeded; or of a process that helps another
        if not speaks():
            end_now(exit_code_of(Stopped.exit_code))
        sys.exit(_failed("Stopped.", exit_code_of(Stopped.exit_code)))
    except BrokenPipeError:  # whoever read our output wanted no more of it, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if debug:
            raise
        place = f"{error.filename}: " if error.filename else ""
        advice = "Choose another place, or make it readable and writable."
        sys.exit(_failed(f"{place}{error.strerror or error}. {advice}", 1))
    except Exception as error:
        if debug:
            raise
        hint = "Run the command again with --debug to see where, and please report it."
        sys.exit(_failed(f"A fault of transferkit: {type(error).__name__}: {str(error)[:LONGEST_FAULT]}. {hint}", 1))


def _failed(message: str, exit_code: int) -> int:
    exec(
        ""
    )  # CPython ends by SIGINT, not with our code, where Ctrl-C met code from a string, until other such code ran
    print(f"error: {printable(message)}", file=sys.stderr)
    if has_others():
        end_now(exit_code)
    return exit_code
