"""The command `help`, for those who type it before a command instead of `--help` behind it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from transferkit.runtime.errors import TransferkitError, did_you_mean, quoted


def register(app: typer.Typer) -> None:
    """Add this command to the command line."""
    app.command("help")(show_help)


def show_help(
    context: Annotated[typer.Context, "where the command was typed"],
    command: Annotated[list[str] | None, typer.Argument(help="Which, as in finetune, or recipes copy.")] = None,
) -> None:
    """Show what transferkit, or one command, does and takes."""
    root: Any = context.find_root()
    for name in command or ():
        commands = getattr(root.command, "commands", {})
        if name not in commands:
            raise TransferkitError(f"There is no command {quoted(name)}. {did_you_mean(name, commands, len(commands))}")
        root = root.command.context_class(commands[name], info_name=name, parent=root)
    typer.echo(root.command.get_help(root))
