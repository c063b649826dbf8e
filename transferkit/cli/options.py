"""The options that several commands have: those written once here, and those made from the recipe's models."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from functools import wraps
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Optional, Union, get_args, get_origin, get_type_hints

import typer
from pydantic.fields import FieldInfo

from transferkit.cli import completion
from transferkit.cli.help_pages import RARE
from transferkit.recipe import BackboneSettings, DataSettings, FolderData, RankingRecipe, Recipe, RecipePart
from transferkit.recipe.settings import LARGEST_BATCH, LARGEST_PX
from transferkit.recipe.workplace import MOST_WORKERS, ExecutorName
from transferkit.runtime.console import printable
from transferkit.runtime.processor import MOST_THREADS

COMMON = {  # keys of a recipe whose options `--help` shows; `--help-all` shows them all
    *("limit_per_class", "group", "weights", "classifier", "layers", "epochs", "size", "lr"),
    *("freeze_to", "augment", "seed"),
}
NOT_OPTIONS = {"name", "path", "data", "backbone", "backbones", "method", "root", "stated_accuracy"}

Backbone = Annotated[
    str, typer.Argument(help="resnet18, vgg16_bn, alexnet, ..., or timm/<name>.", autocompletion=completion.backbones)
]


def named_run(reference: str) -> Path:
    """The folder that a RUN stands for; of @last and @2, which they are is said on stderr."""
    from transferkit.recipe.references import is_reference, run_folder

    folder = run_folder(reference)
    if is_reference(reference) and not completion.is_at_work():
        print(f"{reference} is {printable(str(folder))}", file=sys.stderr)
    return folder


def named_weights(weights: str) -> str:
    """What --weights names; of @last and @2, their folder, which is said on stderr."""
    from transferkit.recipe.references import is_reference

    return str(named_run(weights)) if is_reference(weights) else weights


RUN_WORDS = "@last and @2 name the latest ones, as `transferkit runs` numbers them."
FinishedRun = Annotated[
    Path,
    typer.Argument(
        parser=named_run, metavar="RUN", help=f"A run's folder. {RUN_WORDS}", autocompletion=completion.runs
    ),
]
Network = Annotated[
    str,
    typer.Argument(
        metavar="NETWORK", help=f"A backbone, or a run's folder. {RUN_WORDS}", autocompletion=completion.runs
    ),
]
FinishedRuns = Annotated[
    list[Path],
    typer.Argument(
        parser=named_run,
        metavar="RUN...",
        help=f"Folders of finished runs. {RUN_WORDS}",
        autocompletion=completion.runs,
    ),
]
Overrides = Annotated[
    list[str] | None, typer.Argument(help="key.path=value, any key of the recipe.", show_default=False)
]
Data = Annotated[
    str,
    typer.Option(
        help="Your images: a folder with one folder per class, or a table; or the name of a data set.",
        autocompletion=completion.data_sets,
        rich_help_panel="Data",
    ),
]
Weights = Annotated[
    str,
    typer.Option(
        help="imagenet, none, a .safetensors or .pth file, a RUN, or a package's name for its weights.",
        callback=named_weights,
        rich_help_panel="Backbone",
    ),
]
WeightsOfEach = Annotated[
    list[str] | None,
    typer.Option(
        help="imagenet, none, a file or a RUN (its folder, @last ...), for all; or NAME=WEIGHTS. (default: imagenet)",
        rich_help_panel="Backbone",
    ),
]
RUN = "Run"
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.", rich_help_panel=RUN)]
InputSide = Annotated[int | None, typer.Option(help="Input side in px.", min=8, max=LARGEST_PX, show_default=False)]
PassSize = Annotated[
    int | None,
    typer.Option(
        help="Images per forward pass. (default: by device and size)",
        min=1,
        max=LARGEST_BATCH,
        rich_help_panel=RUN + RARE,
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        help="Of the CPU. (default: OMP_NUM_THREADS, or all usable cores)",
        min=1,
        max=MOST_THREADS,
        show_default=False,
        rich_help_panel=RUN + RARE,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(help="The folder. (default: runs/<name>-<hash>)", show_default=False, rich_help_panel=RUN),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace the result that is in the folder.", rich_help_panel=RUN)
]
GoOn = Annotated[
    bool,
    typer.Option(
        "--resume", help="Go on with what is unfinished in the folder; it does so unasked.", rich_help_panel=RUN + RARE
    ),
]  # of studies, where it changes nothing: whoever knows it from single runs may type it
Open = Annotated[bool, typer.Option("--open", help="Show the page in the browser.", rich_help_panel=RUN)]
OverwriteFile = Annotated[bool, typer.Option("--overwrite", help="Replace the file.", rich_help_panel=RUN)]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Print the recipe, estimate what each arm costs, and stop.", rich_help_panel=RUN),
]
OfExecutor = Annotated[
    ExecutorName | None,
    typer.Option(help="here in turn, processes, slurm or ray. (default: here)", rich_help_panel=RUN),
]
OfWorkers = Annotated[
    int | None,
    typer.Option(min=1, max=MOST_WORKERS, help="So many at once. (default: GPUs, or cores)", rich_help_panel=RUN),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.", rich_help_panel=RUN)]


def with_options(*models: type[RecipePart]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command one option per key of these models; the command receives them as keyword arguments."""

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        signature = inspect.signature(command, eval_str=True)
        own = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
        parameters = [*own, *(parameter for model in models for parameter in _parameters(model))]
        command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return command

    return add


def with_groups(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command one option per field of the dataclasses that it takes, where they stand in its signature."""
    signature = inspect.signature(command, eval_str=True)
    kinds: dict[str, type[Any]] = {name: given.annotation for name, given in signature.parameters.items()}
    groups = {name: kind for name, kind in kinds.items() if is_dataclass(kind)}

    @wraps(command)
    def grouped(**values: Any) -> Any:
        for name, group in groups.items():
            values[name] = group(**{field.name: values.pop(field.name) for field in fields(group)})
        return command(**values)

    parameters = [
        member
        for name, parameter in signature.parameters.items()
        for member in (_members(groups[name]) if name in groups else [parameter])
    ]
    grouped.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    grouped.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return grouped


def _members(group: type[Any]) -> Iterator[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    for field in fields(group):
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        yield inspect.Parameter(field.name, kind, default=field.default, annotation=hints[field.name])


def method_options(model: type[RecipePart]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The options of a command that runs one method."""
    return with_options(model, BackboneSettings, FolderData, Recipe)


def _parameters(model: type[RecipePart]) -> Iterator[inspect.Parameter]:
    panels = {
        BackboneSettings: "Backbone",
        FolderData: "Data",
        DataSettings: "Data",
        Recipe: "Run",
        RankingRecipe: "Run",
    }
    for name, field in model.model_fields.items():
        if name not in NOT_OPTIONS:
            kind = _type(field.annotation)
            panel = panels.get(model, "Method") + ("" if name in COMMON else RARE)
            annotation: Any = Annotated[kind, _option(name, field, model.open_defaults.get(name), panel)]
            yield inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _option(name: str, field: FieldInfo, default: str | None, panel: str) -> Any:
    flag = "--C" if name == "C" else "--" + name.replace("_", "-")
    if bool in _alternatives(field.annotation):
        flag = f"{flag}/--no-{flag[2:]}"
    return typer.Option(flag, help=_help(field, default), rich_help_panel=panel, show_default=False)


def _help(field: FieldInfo, default: str | None) -> str:
    """The description with the default: in words where there are any, else as it is."""
    described, value = field.description or "", field.default
    if default is None and value not in (None, "", {}, ()):
        default = ("yes" if value else "no") if isinstance(value, bool) else str(value)
    return described if default is None else f"{described} (default: {default})".strip()


def _alternatives(annotation: Any) -> list[Any]:
    if get_origin(annotation) in (Union, UnionType):
        return [member for member in get_args(annotation) if member is not type(None)]
    return [annotation]


def _type(annotation: Any) -> Any:
    """The type Typer reads an option as; mixtures are read as text and checked by the recipe."""
    members = _alternatives(annotation)
    only = members[0] if len(members) == 1 else str
    is_readable = only in (int, float, bool, Path) or get_origin(only) is Literal
    return Optional[only if is_readable else str]  # noqa: UP045 - the type is a value here
