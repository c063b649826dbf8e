"""A run on several devices of this machine: a process for each is started, and what changes by it is said."""

from __future__ import annotations

import os
from pathlib import Path

from transferkit.models.backbones.own_modules import OWN
from transferkit.recipe import Recipe
from transferkit.runtime import launch
from transferkit.runtime.console import Console
from transferkit.runtime.distributed import launched
from transferkit.runtime.errors import TransferkitError


def are_to_be_started(recipe: Recipe) -> bool:
    """Whether a recipe asks for processes that do not run yet; what takes no gradient steps needs no more than one.

    Raises:
        TransferkitError: If it asks for another number of them than a launcher has started on this machine.
    """
    if recipe.devices == 1 or not recipe.method.trains_by_steps:
        return False
    here = int(os.environ.get("LOCAL_WORLD_SIZE") or launched().size)
    if launched().is_shared and here != recipe.devices:
        raise TransferkitError(
            f"--devices {recipe.devices} was asked for, and a launcher has started {here} processes on this machine. "
            "Leave --devices out: torchrun's --nproc-per-node decides."
        )
    return not launched().is_shared


def where_one_is_enough(recipe: Recipe) -> list[str]:
    """The line that says why a recipe that asks for several processes gets one; none where it gets what it asks for."""
    if recipe.devices == 1 or recipe.method.trains_by_steps:
        return []
    noun = recipe.method.noun.lower()
    return [f"devices {recipe.devices}: one process does it all, for {noun} takes no gradient steps to share"]


def require_recipe_that_says_all(recipe: Recipe) -> None:
    """Refuse what was given in Python, which processes that are started anew cannot have.

    Raises:
        TransferkitError: Says how to start them instead.
    """
    training = recipe.method.training
    given = [
        *(["the network"] if recipe.backbone.name.startswith(OWN) else []),
        *(["the function for augment"] if training is not None and callable(training.augment) else []),
    ]
    if given:
        raise TransferkitError(
            f"devices {recipe.devices} starts other processes, and they cannot have {' and '.join(given)} that you "
            f"gave in Python. Leave devices out and start your script with: torchrun --nproc-per-node {recipe.devices} "
            "YOUR_SCRIPT.py"
        )


def start(recipe: Recipe, folder: Path, console: Console, *, overwrite: bool, resume: bool, command: str) -> None:
    """Let processes on as many devices carry out a recipe together, and wait for their end.

    Raises:
        TransferkitError: What they failed with.
    """
    require_recipe_that_says_all(recipe)
    console.line(f"Starting {recipe.devices} processes, one per device ...")
    work = launch.SharedRun(recipe.to_yaml(), str(folder), overwrite, resume, command, console.quiet)
    launch.start(recipe.devices, recipe.device, work)
