"""Help pages in 80 columns: the options most people need, each with its default; `--help-all` shows the others."""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import typer
from pydantic import ValidationError
from typer.core import TyperCommand, TyperGroup

from transferkit.cli.help_texts import EXAMPLES, METHODS_SECTION, OTHERS, SECTIONS
from transferkit.cli.unknown_options import no_such_option, with_nearest
from transferkit.recipe import METHOD_MODELS
from transferkit.runtime.console import RESULTS_ON_STDOUT, SHOWS_DETAILS
from transferkit.runtime.errors import did_you_mean
from transferkit.runtime.expected_values import sentence

ALL = "--help-all"
RARE = ", rarely needed"  # ends the panel of an option that `--help` leaves out
PANELS = ("Options", "Data", "Backbone", "Method", "Run")  # in this order, others behind
NARROWEST, WIDEST = 40, 100  # columns of a page
INDENT = 2
NAMES_WIDTH = 25  # columns of names; a longer one has a line of its own
TAIL = f"{ALL} shows every option of a command; --debug shows the traceback of an error."
PROGRAM = "transferkit"
VALUES = {  # what stands behind an option, by its type
    "bool": "",
    "str": "TEXT",
    "int": "N",
    "int range": "N",
    "float": "X",
    "float range": "X",
    "path": "PATH",
    "list[str]": "TEXT",
    "list[int]": "N",
    "list[float]": "X",
    "list[int range]": "N",
}
UsageError: Any = typer.BadParameter.__base__  # Typer's own or click's, as Typer's version has it
Row = tuple[str, str]
VERBOSE = ("-v", "--verbose")  # every command takes it
VERBOSE_ROW: Row = (", ".join(VERBOSE), "Show details of the work: rates, choices, each pass.")


class PageCommand(TyperCommand):
    """A command whose help is a page of this module."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the page."""
        formatter.write(command_page(self, ctx, shows_all=False))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments, or show the whole page and end."""
        if ALL in args:
            typer.echo(command_page(self, ctx, shows_all=True), color=ctx.color)
            ctx.exit()
        if ctx.resilient_parsing and args and args[-1].startswith("--"):
            args = args[:-1]  # the shell asks for its value, and the arguments before it are read only without it
        SHOWS_DETAILS.set(any(name in args for name in VERBOSE))
        try:
            with advising(self, ctx):
                return super().parse_args(ctx, [name for name in args if name not in VERBOSE])
        except typer.BadParameter as error:
            if isinstance(error.__cause__, ValidationError):  # whose words are for programmers
                error.message = sentence(error.__cause__)
            error.message = with_nearest(error.message)
            raise

    def invoke(self, ctx: Any) -> Any:
        """Carry the command out; its results have stdout unless a JSON document does."""
        token = RESULTS_ON_STDOUT.set(not ctx.params.get("json"))
        try:
            return super().invoke(ctx)
        finally:
            RESULTS_ON_STDOUT.reset(token)


class PageGroup(TyperGroup):
    """A group of commands whose help is a page of this module."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the page."""
        formatter.write(group_page(self, ctx))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments, or show the page where there are none; the whole page is no longer than the usual one."""
        if args and args[0] == ALL:
            args = ["--help"]
        if not args and self.no_args_is_help and not ctx.resilient_parsing:
            typer.echo(self.get_help(ctx), color=ctx.color)
            ctx.exit(2)
        with advising(self, ctx):
            return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that was named; where none is near, the error lists those there are."""
        try:
            return super().resolve_command(ctx, args)
        except UsageError as error:
            if error.message.startswith("No such command") and "Did you mean" not in error.message:
                commands = [name for name, command in self.commands.items() if not command.hidden]
                error.message += f" {did_you_mean(args[0], commands, len(commands))}"
            raise


@contextmanager
def advising(command: Any, ctx: Any) -> Iterator[None]:
    """Let the error of an unknown option name those that are near, or the page that shows all."""
    try:
        yield
    except UsageError as error:
        if hasattr(error, "possibilities") and hasattr(error, "option_name"):
            parameters = [parameter for parameter in command.get_params(ctx) if parameter.param_type_name == "option"]
            options = [name for option in parameters for name in (*option.opts, *option.secondary_opts)]
            error.message = no_such_option(error.option_name, [*options, VERBOSE[1]], f"{ctx.command_path} {ALL}")
            error.possibilities = None  # of Typer, which finds --out near --quiet
        raise


def give_pages(app: typer.Typer) -> None:
    """Let every command below an app, groups included, have a page of this module for its help."""
    app.info.cls = PageGroup
    for command in app.registered_commands:
        command.cls = PageCommand
    for group in app.registered_groups:
        group.cls = PageGroup
        if group.typer_instance is not None:
            give_pages(group.typer_instance)


def command_page(command: Any, ctx: Any, *, shows_all: bool) -> str:
    """What a command does, examples, its arguments and its options, those that are rarely needed only when asked."""
    parameters = command.get_params(ctx)
    arguments = [parameter for parameter in parameters if parameter.param_type_name == "argument"]
    options = [parameter for parameter in parameters if parameter.param_type_name == "option" and not parameter.hidden]
    chosen = [option for option in options if shows_all or not panel_of(option).endswith(RARE)]
    usage = " ".join([ctx.command_path, *map(argument_name, arguments), "[OPTIONS]"])
    parts = [f"Usage: {usage}", filled(command.help or ""), examples(ctx)]
    parts.append(section("Arguments", [(argument_name(argument), argument.help or "") for argument in arguments]))
    listed = panels(chosen, ctx) if shows_all else in_brief(panels(chosen, ctx))
    width = names_width([row for rows in listed.values() for row in rows])
    parts += [section(panel, rows, width) for panel, rows in listed.items()]
    if hidden := len(options) - len(chosen):
        parts.append(f"{hidden} more, rarely needed: {ctx.command_path} {ALL}")
    return page(parts)


def group_page(group: Any, ctx: Any) -> str:
    """What a group of commands is for, and its commands, section by section."""
    commands = {name: command for name, command in group.commands.items() if not command.hidden}
    parts = [f"Usage: {ctx.command_path} COMMAND ...", filled(group.help or ""), examples(ctx)]
    is_program = ctx.parent is None
    sections = in_sections(commands) if is_program else {"Commands": tuple(commands)}
    width = max(map(len, commands)) + 2
    for title, names in sections.items():
        parts.append(section(title, [(name, first_sentence(commands[name].help or "")) for name in names], width))
    parts.append(section("Options", [option_row(option, ctx) for option in group.get_params(ctx)]))
    parts.append(filled(f"`{ctx.command_path} COMMAND --help` shows a command's options. {TAIL if is_program else ''}"))
    return page(parts)


def in_sections(commands: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The commands by section, in the order of `SECTIONS`; none is left out.

    Example:
        >>> in_sections(["cache", "run", "finetune", "fly"])
        {'Train': ('finetune', 'run'), 'Keep house': ('cache',), 'More': ('fly',)}
    """
    present = tuple(commands)
    methods = tuple(name for name in present if name in METHOD_MODELS)
    sections = {
        title: (*(methods if title == METHODS_SECTION else ()), *(name for name in names if name in present))
        for title, names in SECTIONS.items()
    }
    placed = {name for names in sections.values() for name in names}
    sections[OTHERS] = tuple(name for name in present if name not in placed)
    return {title: names for title, names in sections.items() if names}


def in_brief(rows: Mapping[str, list[Row]]) -> Mapping[str, list[Row]]:
    """The same in two panels, how it is run and all else, with the first clause of each sentence."""
    how = [(names, brief(text)) for names, text in rows.get("Run", [])]
    what = [(names, brief(text)) for panel, listed in rows.items() if panel != "Run" for names, text in listed]
    return {panel: listed for panel, listed in (("Options", what), ("Run", how)) if listed}


def panels(options: Sequence[Any], ctx: Any) -> Mapping[str, list[Row]]:
    """The options by panel, in the order of `PANELS`."""
    rows: dict[str, list[Row]] = {panel: [] for panel in PANELS}
    for option in options:
        if "--help" in option.opts:
            rows["Run"].append(VERBOSE_ROW)
        rows.setdefault(panel_of(option).removesuffix(RARE), []).append(option_row(option, ctx))
    return {panel: listed for panel, listed in rows.items() if listed}


def panel_of(option: Any) -> str:
    """Where an option stands; those that Typer adds stand with the run's."""
    is_help = "--help" in option.opts
    return getattr(option, "rich_help_panel", None) or ("Run" if is_help else "Options")


def option_row(option: Any, ctx: Any) -> Row:
    """The names of an option with what follows them, and its sentence with its default."""
    names, text = option.get_help_record(ctx)
    flags, _, kind = names.partition(" <")
    flags = re.sub(r"--(\S+) ?/ ?--no-\1", r"--[no-]\1", flags)
    value = VALUES.get(kind.removesuffix(">"), kind.removesuffix(">"))
    return f"{flags} {value}".strip(), with_default(text)


def with_default(text: str) -> str:
    """A sentence with its default in words, without the bounds, which an error names.

    Example:
        >>> with_default("Side in px.  [default: 224; 8<=x<=2048]"), with_default("A file.  [required]")
        ('Side in px. (default: 224)', 'A file. (needed)')
        >>> with_default("As asked. (default: all)")
        'As asked. (default: all)'
    """
    text = text.replace("  \\[", "  [")  # as Typer before 0.25 writes it
    sentence, _, extra = text.removesuffix("]").partition("  [") if text.endswith("]") else (text, "", "")
    facts = [fact for fact in extra.split("; ") if fact.startswith("default: ")]
    needed = ["needed"] if "required" in extra.split("; ") else []
    return " ".join([sentence, *(f"({fact})" for fact in (*facts, *needed))]).strip()


def brief(text: str) -> str:
    """The first clause of a sentence that has several, with its default.

    Example:
        >>> brief("Input side in px; '96->160' trains small first. (default: 224; at most 128 where images have 64)")
        'Input side in px. (default: 224; at most 128 where images have 64)'
    """
    sentence, bracket, default = text.partition(" (default: ")
    clause = sentence.partition("; ")[0].rstrip(".")
    return f"{clause}.{bracket}{default}"


def names_width(rows: Sequence[Row]) -> int:
    """Columns of names, two blanks behind them: as the longest needs that has no line for itself."""
    return max((len(names) + 2 for names, _ in rows if len(names) <= NAMES_WIDTH - 2), default=NAMES_WIDTH)


def argument_name(argument: Any) -> str:
    """`RUN`, `[KEY=VALUE]` or `IMAGES...`, as the usage line has it."""
    name = argument.metavar or argument.name.upper()
    name = name if argument.required or name.startswith("[") else f"[{name}]"
    return name if argument.nargs != -1 or name.endswith("...") else f"{name}..."


def examples(ctx: Any) -> str:
    """The examples of a command, what each does below it."""
    path = ctx.command_path.removeprefix(ctx.find_root().command_path).strip()
    lines = [line for typed, does in EXAMPLES.get(path, ()) for line in example_lines(f"  {PROGRAM} {typed}", does)]
    return "\n".join([heading("Examples"), *lines]) if lines else ""


def example_lines(typed: str, does: str) -> list[str]:
    """What is typed, and behind it what that does, or below it where there is no room."""
    if len(typed) + 2 + len(does) <= columns():
        return [f"{typed}  {does}"]
    margin = " " * 6
    return [typed, *textwrap.wrap(does, columns(), initial_indent=margin, subsequent_indent=margin)]


def section(title: str, rows: Sequence[Row], names_width: int = NAMES_WIDTH) -> str:
    """A heading, and below it names with their sentences; nothing where there are no rows."""
    return "\n".join([heading(title), *(line for row in rows for line in row_lines(row, names_width))]) if rows else ""


def row_lines(row: Row, names_width: int) -> Iterator[str]:
    """The lines of one row; a long name has the first one for itself."""
    names, text = row
    margin = " " * (INDENT + names_width)
    if len(names) > names_width - 2:
        yield " " * INDENT + names
        first = margin
    else:
        first = f"{' ' * INDENT}{names:{names_width}}"
    yield from textwrap.wrap(text, columns(), initial_indent=first, subsequent_indent=margin) or [first.rstrip()]


def first_sentence(text: str) -> str:
    """What a list of commands says of one."""
    return " ".join(text.split()).partition("; ")[0].rstrip(".")


def heading(title: str) -> str:
    """A section's heading, bold on a terminal."""
    return typer.style(f"{title}:", bold=True)


def filled(text: str) -> str:
    """A paragraph as wide as the page."""
    return textwrap.fill(" ".join(text.split()), columns())


def page(parts: Iterable[str]) -> str:
    """The parts that are not empty, a blank line between them."""
    return "\n\n".join(part for part in parts if part) + "\n"


def columns() -> int:
    """How wide a page is: as the terminal, within bounds."""
    return max(NARROWEST, min(WIDEST, shutil.get_terminal_size().columns))
